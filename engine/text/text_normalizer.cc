#include "engine/text/text_normalizer.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "engine/text/strings.h"

namespace memgate {
namespace {

// A space mark triples a space and NFKD makes at most 18 characters of one (U+FDFA); more than this is a rule
// that multiplies text.
constexpr size_t kMaxGrowth = 32;
constexpr size_t kGrowthAllowance = 4096;
constexpr size_t kMaxNormalizedBytes = 64 << 20;

absl::Status TooLong(size_t max_bytes) {
  return absl::ResourceExhaustedError(
      Concat("the text is longer than ", max_bytes, " bytes when normalised"));
}

// Calls map(code point, character, out) for every character of `text`.
template <typename Map>
std::string MapCharacters(std::string_view text, Map map) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = ReadUtf8(text);
    map(step.code_point, text.substr(0, step.bytes), out);
    text.remove_prefix(step.bytes);
  }
  return out;
}

// The character lists of the rule "Nmt", which stem from what SentencePiece calls nmt_nfkc.
bool IsNmtControl(char32_t c) {
  return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
         c == 0x9F;
}
bool IsNmtSpace(char32_t c) {
  return c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
         c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

// Whether ReplaceEvery would make more than `max_bytes` of `text`.
bool GrowsBeyond(std::string_view text, const ReplaceRule& rule, size_t max_bytes) {
  if (text.size() > max_bytes) return true;
  if (rule.content.size() <= rule.pattern.size()) return false;
  const size_t most = (max_bytes - text.size()) / (rule.content.size() - rule.pattern.size());
  if (text.size() / rule.pattern.size() <= most) return false;
  size_t count = 0;
  for (size_t at = text.find(rule.pattern); at != std::string_view::npos;
       at = text.find(rule.pattern, at + rule.pattern.size())) {
    if (++count > most) return true;
  }
  return false;
}

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

absl::StatusOr<TextNormalizer> TextNormalizer::Compile(const std::vector<NormalizerRule>& rules) {
  TextNormalizer normalizer;
  for (const NormalizerRule& rule : rules) {
    const auto* replace = std::get_if<ReplaceRule>(&rule);
    const auto* sentencepiece = std::get_if<SentencePieceRule>(&rule);
    if (replace != nullptr && !replace->is_literal) {
      absl::StatusOr<Regex> pattern = Regex::Compile(replace->pattern);
      if (!pattern.ok()) return pattern.status();
      normalizer.steps_.push_back(RegexReplacement{*std::move(pattern), replace->content});
    } else if (sentencepiece != nullptr) {
      absl::StatusOr<SentencePieceNormalizer> step = SentencePieceNormalizer::Create(*sentencepiece);
      if (!step.ok()) return step.status();
      normalizer.steps_.push_back(*std::move(step));
    } else {
      std::visit(
          [&](const auto& simple) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(simple)>, SentencePieceRule>) {
              normalizer.steps_.push_back(simple);
            }
          },
          rule);
    }
  }
  return normalizer;
}

// One step on one text. Steps that could make any size of it look before they build it.
struct TextNormalizer::Application {
  std::string_view text;
  Prepending prepending;
  size_t max_bytes;
  MatchWork& work;

  using Result = absl::StatusOr<std::string>;

  Result operator()(const PrependRule& rule) const {
    if (prepending == Prepending::kOff || text.empty()) return std::string(text);
    if (rule.prefix.size() > max_bytes) return TooLong(max_bytes);
    return Concat(rule.prefix, text);
  }
  Result operator()(const ReplaceRule& rule) const {
    if (GrowsBeyond(text, rule, max_bytes)) return TooLong(max_bytes);
    return ReplaceEvery(text, rule.pattern, rule.content);
  }
  Result operator()(const RegexReplacement& rule) const {
    std::string out;
    size_t done = 0;
    bool too_long = false;
    const absl::Status status = rule.pattern.ForEachMatch(text, work, [&](size_t begin, size_t end) {
      too_long = too_long || out.size() + (begin - done) + rule.content.size() > max_bytes;
      if (too_long) return;
      out.append(text.substr(done, begin - done)).append(rule.content);
      done = end;
    });
    if (!status.ok()) return status;
    if (too_long) return TooLong(max_bytes);
    out.append(text.substr(done));
    return out;
  }
  Result operator()(const UnicodeRule& rule) const { return NormalizeUnicode(text, rule.form); }
  Result operator()(const LowercaseRule&) const {
    return MapCharacters(text,
                         [](char32_t c, std::string_view, std::string& out) { AppendLowercase(c, out); });
  }
  Result operator()(const StripAccentsRule&) const {
    return MapCharacters(text, [](char32_t c, std::string_view character, std::string& out) {
      if (!IsUnicodeMark(c)) out += character;
    });
  }
  Result operator()(const StripRule& rule) const {
    std::string_view rest = text;
    // In the middle of a conversation the white space before a word belongs to it.
    if (rule.left && prepending == Prepending::kOn) rest.remove_prefix(LeadingSpaceBytes(rest));
    if (rule.right) rest.remove_suffix(TrailingSpaceBytes(rest));
    return std::string(rest);
  }
  Result operator()(const NmtRule&) const {
    return MapCharacters(text, [](char32_t c, std::string_view character, std::string& out) {
      if (IsNmtSpace(c)) {
        out.push_back(' ');
      } else if (!IsNmtControl(c)) {
        out += character;
      }
    });
  }
  Result operator()(const SentencePieceNormalizer& normalizer) const {
    return normalizer.Normalize(text, prepending, max_bytes);
  }
};

absl::StatusOr<std::string> TextNormalizer::Normalize(std::string_view text, Prepending prepending,
                                                      MatchWork& work) const {
  const size_t max_bytes = std::min(kMaxGrowth * text.size() + kGrowthAllowance, kMaxNormalizedBytes);
  std::string current(text);
  for (const Step& step : steps_) {
    absl::StatusOr<std::string> next = std::visit(Application{current, prepending, max_bytes, work}, step);
    if (!next.ok()) return next.status();
    current = *std::move(next);
    if (current.size() > max_bytes) return TooLong(max_bytes);
  }
  return current;
}

}  // namespace memgate
