#include "engine/text/text_normalizer.h"

#include "engine/text/strings.h"

namespace memgate {
namespace {

// A space mark triples a space and NFKD makes at most 18 characters of one (U+FDFA); more than this is a rule
// that multiplies text.
constexpr size_t kMaxGrowth = 32;
constexpr size_t kGrowthAllowance = 4096;

}  // namespace

std::string ReplaceEvery(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, done)) {
    out.append(text.substr(done, at - done)).append(to);
    done = at + from.size();
  }
  out.append(text.substr(done));
  return out;
}

absl::StatusOr<std::string> NormalizeText(const std::vector<NormalizerRule>& rules, std::string_view text,
                                          Prepending prepending) {
  std::string current(text);
  for (const NormalizerRule& rule : rules) {
    if (const auto* prepend = std::get_if<PrependRule>(&rule)) {
      if (prepending == Prepending::kOn && !current.empty()) current.insert(0, prepend->prefix);
    } else if (const auto* replace = std::get_if<ReplaceRule>(&rule)) {
      // The growth of one rule is bounded by its lengths; check before building what may be huge.
      if (replace->content.size() > kMaxGrowth * replace->pattern.size()) {
        return absl::ResourceExhaustedError(
            Concat("normaliser Replace multiplies text by more than ", kMaxGrowth));
      }
      current = ReplaceEvery(current, replace->pattern, replace->content);
    } else if (const auto* unicode = std::get_if<UnicodeRule>(&rule)) {
      absl::StatusOr<std::string> normalized = NormalizeUnicode(current, unicode->form);
      if (!normalized.ok()) return normalized.status();
      current = *std::move(normalized);
    }
    if (current.size() > kMaxGrowth * text.size() + kGrowthAllowance) {
      return absl::ResourceExhaustedError(Concat("normaliser multiplies text by more than ", kMaxGrowth));
    }
  }
  return current;
}

}  // namespace memgate
