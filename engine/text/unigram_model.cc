#include "engine/text/unigram_model.h"

#include <algorithm>
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
    if (spec.not_text.contains(id)) continue;
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
  std::vector<std::pair<std::string_view, TokenId>> pieces;  // last one first
  for (size_t end = word.size(); end > 0; end -= steps[end].bytes) {
    const size_t begin = end - steps[end].bytes;
    const bool extends_unknown =
        steps[end].id == kUnknown && !pieces.empty() && pieces.back().second == kUnknown;
    if (extends_unknown) {
      pieces.back().first = {word.data() + begin, pieces.back().first.size() + steps[end].bytes};
    } else {
      pieces.emplace_back(word.substr(begin, steps[end].bytes), steps[end].id);
    }
  }
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    if (piece->second != kUnknown) {
      ids.push_back(piece->second);
    } else if (absl::Status status = AppendUnknown(piece->first, ids); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// Step n is the last one of the best way to the first n bytes. Every end of a character has one, since a
// character can always be unknown.
std::vector<UnigramModel::Step> UnigramModel::BestSteps(std::string_view word) const {
  std::vector<Step> steps(word.size() + 1);
  const auto offer = [&](size_t begin, size_t bytes, double score, TokenId id) {
    Step& step = steps[begin + bytes];
    const double sum = steps[begin].score + score;
    if (step.bytes == 0 || sum > step.score) step = {sum, bytes, id};
  };
  size_t begin = 0;
  while (begin < word.size()) {
    const std::string_view rest = word.substr(begin);
    const size_t character = ReadUtf8(rest).bytes;
    bool known = false;
    pieces_.ForEachPrefix(rest, [&](const ByteTrie::Match& match) {
      offer(begin, match.bytes, scores_[match.value], match.value);
      known = known || match.bytes == character;
    });
    if (!known) offer(begin, character, unknown_score_, kUnknown);
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
