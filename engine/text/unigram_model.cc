#include "engine/text/unigram_model.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// What an unknown character costs beyond the least likely piece; part of the model's definition.
constexpr double kUnknownPenalty = 10.0;

}  // namespace

absl::StatusOr<std::unique_ptr<UnigramModel>> UnigramModel::Create(const ModelSpec& spec) {
  std::unique_ptr<UnigramModel> model(new UnigramModel());
  StringViewMap<TokenId> by_name;
  std::vector<std::pair<std::string_view, int32_t>> reachable;
  TokenId largest = -1;
  for (const auto& [piece, id] : spec.vocab) largest = std::max(largest, id);
  model->scores_.resize(static_cast<size_t>(largest) + 1);
  double smallest_score = std::numeric_limits<double>::max();
  bool inner_space_mark = false;
  for (size_t i = 0; i < spec.vocab.size(); ++i) {
    const auto& [piece, id] = spec.vocab[i];
    if (!by_name.emplace(piece, id).second) {
      return absl::InvalidArgumentError(Concat("vocabulary piece ", Quoted(piece), " appears twice"));
    }
    if (spec.not_text.contains(id) || spec.unused.contains(id)) continue;
    reachable.emplace_back(piece, id);
    model->scores_[id] = spec.scores[i];
    smallest_score = std::min(smallest_score, spec.scores[i]);
    inner_space_mark = inner_space_mark || HasInnerSpaceMark(piece);
  }
  model->pieces_ = ByteTrie(std::move(reachable));
  model->unknown_score_ = smallest_score - kUnknownPenalty;
  model->words_are_independent_ =
      !inner_space_mark && model->pieces_.Longest(kSpaceMark).bytes == kSpaceMark.size();
  model->memo_ = WordMemo(largest);

  const auto find = [&](const std::string& piece) -> std::optional<TokenId> {
    const auto found = by_name.find(piece);
    return found == by_name.end() ? std::nullopt : std::optional(found->second);
  };
  for (int byte = 0; byte < 256; ++byte) {
    model->byte_ids_[byte] = spec.byte_fallback ? find(ByteFallbackPiece(byte)).value_or(-1) : -1;
  }
  if (spec.unk_token.has_value()) {
    model->unk_id_ = find(*spec.unk_token);
    if (!model->unk_id_.has_value()) {
      return absl::InvalidArgumentError(
          Concat("unk_token ", Quoted(*spec.unk_token), " is not in the vocabulary"));
    }
  }
  return model;
}

absl::Status UnigramModel::Encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (word.empty()) return absl::OkStatus();
  const ByteTrie::Match whole = pieces_.Longest(word);
  if (whole.bytes != word.size()) return EncodeWord(word, ids);
  return memo_.Encode(whole.value, ids, [&] { return EncodeWord(word, ids); });
}

absl::Status UnigramModel::EncodeWord(std::string_view word, std::vector<TokenId>& ids) const {
  const std::vector<Step> steps = BestSteps(word);
  size_t at = 0;
  while (at < word.size()) {
    size_t end = at + steps[at].bytes;
    if (steps[at].known) {
      ids.push_back(pieces_.Longest(word.substr(at, end - at)).value);
    } else {
      while (end < word.size() && !steps[end].known) end += steps[end].bytes;
      if (absl::Status status = AppendUnknown(word.substr(at, end - at), ids); !status.ok()) return status;
    }
    at = end;
  }
  return absl::OkStatus();
}

// The step from each byte that the best way comes by.
std::vector<UnigramModel::Step> UnigramModel::BestSteps(std::string_view word) const {
  std::vector<Step> steps = LastSteps(word);
  size_t at = word.size();
  Step last = steps[at];
  while (at > 0) {
    at -= last.bytes;
    std::swap(last, steps[at]);  // the step that ended there begins here
  }
  return steps;
}

// Step n is the last one of the best way to the first n bytes. Every end of a character has one, since a
// character can always be unknown. Of the scores only those that a piece can still reach are kept.
std::vector<UnigramModel::Step> UnigramModel::LastSteps(std::string_view word) const {
  constexpr size_t kRing = std::bit_ceil(kMaxScoredPieceBytes + 1);
  std::array<double, kRing> scores;  // of the way to byte n at n % kRing; set where step n is
  scores[0] = 0;
  std::vector<Step> steps(word.size() + 1);
  const auto offer = [&](size_t begin, size_t bytes, double score, bool known) {
    Step& step = steps[begin + bytes];
    double& best = scores[(begin + bytes) % kRing];
    const double sum = scores[begin % kRing] + score;
    if (step.bytes != 0 && sum <= best) return;
    best = sum;
    step = {static_cast<uint16_t>(bytes), known};
  };
  size_t begin = 0;
  while (begin < word.size()) {
    const std::string_view rest = word.substr(begin);
    const size_t character = ReadUtf8(rest).bytes;
    bool known = false;
    pieces_.ForEachPrefix(rest, [&](const ByteTrie::Match& match) {
      offer(begin, match.bytes, scores_[match.value], true);
      known = known || match.bytes == character;
    });
    if (!known) offer(begin, character, unknown_score_, false);
    begin += character;
  }
  return steps;
}

absl::Status UnigramModel::AppendUnknown(std::string_view characters, std::vector<TokenId>& ids) const {
  const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
  if (std::all_of(characters.begin(), characters.end(), [&](char c) { return byte_id(c) >= 0; })) {
    for (const char c : characters) ids.push_back(byte_id(c));
    return absl::OkStatus();
  }
  if (!unk_id_.has_value()) {
    return absl::InvalidArgumentError(Concat("the vocabulary has no token for ", Quoted(characters)));
  }
  ids.push_back(*unk_id_);
  return absl::OkStatus();
}

}  // namespace memgate
