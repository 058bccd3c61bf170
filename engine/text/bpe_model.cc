#include "engine/text/bpe_model.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "absl/strings/str_format.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// Up to this many symbols, looking through all pairs for each merge is faster than a heap.
constexpr size_t kShortWord = 32;

// Of a vocabulary with scores. Published ones can be merged in two or three ways per piece; one made for it,
// in as many ways as its pieces have characters.
constexpr size_t kMaxMergesPerPiece = 16;
constexpr size_t kMergeAllowance = 4096;

// 0 for the largest score, 1 for the next one, ...; equal scores have equal ranks.
std::vector<int32_t> RanksOf(const std::vector<double>& scores) {
  std::vector<double> distinct = scores;
  std::sort(distinct.begin(), distinct.end(), std::greater<>());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<int32_t> ranks;
  ranks.reserve(scores.size());
  for (const double score : scores) {
    const auto at = std::lower_bound(distinct.begin(), distinct.end(), score, std::greater<>());
    ranks.push_back(static_cast<int32_t>(at - distinct.begin()));
  }
  return ranks;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpeModel>> BpeModel::Create(const ModelSpec& spec) {
  std::unique_ptr<BpeModel> model(new BpeModel());
  model->alphabet_ = spec.alphabet;
  model->fuse_unk_ = spec.fuse_unk;
  model->byte_fallback_ = spec.byte_fallback;
  model->ignore_merges_ = spec.ignore_merges;

  StringViewMap<TokenId> spelled;
  spelled.reserve(spec.vocab.size());
  model->words_.reserve(spec.vocab.size());
  TokenId largest = -1;
  for (const auto& [piece, id] : spec.vocab) {
    if (!spelled.emplace(piece, id).second) {
      return absl::InvalidArgumentError(Concat("vocabulary piece ", Quoted(piece), " appears twice"));
    }
    largest = std::max(largest, id);
    if (spec.not_text.contains(id)) continue;
    if (spec.alphabet == Alphabet::kCharacters) {
      model->words_.push_back(piece);
    } else if (std::optional<std::string> bytes = BytesOfSpelling(piece)) {
      model->words_.push_back(*std::move(bytes));
    } else {
      continue;  // Outside the alphabet: no text reaches it, only an added token does.
    }
    model->by_text_.emplace(model->words_.back(), id);
  }
  model->memo_ = WordMemo(largest);

  for (int byte = 0; byte < 256; ++byte) {
    std::string name;
    if (spec.alphabet == Alphabet::kBytes) {
      AppendUtf8(SpellByte(static_cast<unsigned char>(byte)), name);
    } else {
      name = ByteFallbackPiece(byte);
    }
    const auto found = spelled.find(name);
    model->byte_ids_[byte] = found == spelled.end() ? -1 : found->second;
  }
  if (spec.unk_token.has_value()) {
    const auto found = spelled.find(*spec.unk_token);
    if (found == spelled.end()) {
      return absl::InvalidArgumentError(
          Concat("unk_token ", Quoted(*spec.unk_token), " is not in the vocabulary"));
    }
    model->unk_id_ = found->second;
  }
  // A word that is a piece need not come from merges when these are ignored, and without a token for the mark
  // itself unknown characters could be fused across it.
  model->words_are_independent_ =
      spec.alphabet == Alphabet::kCharacters && !spec.ignore_merges && model->by_text_.contains(kSpaceMark);
  const absl::Status status =
      spec.scores.empty() ? model->AddMerges(spec, spelled) : model->AddMergesByScore(spec);
  if (!status.ok()) return status;
  return model;
}

absl::Status BpeModel::AddMerges(const ModelSpec& spec, const StringViewMap<TokenId>& spelled) {
  merges_.reserve(spec.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    joined.assign(left).append(right);
    const auto left_id = spelled.find(left);
    const auto right_id = spelled.find(right);
    const auto joined_id = spelled.find(joined);
    for (const auto& [found, piece] : {std::pair{left_id, &left}, {right_id, &right}, {joined_id, &joined}}) {
      if (found == spelled.end()) {
        return absl::InvalidArgumentError(
            Concat("merge ", rank, " refers to ", Quoted(*piece), ", which is not in the vocabulary"));
      }
    }
    if (spec.not_text.contains(joined_id->second)) continue;
    const uint64_t key =
        static_cast<uint64_t>(left_id->second) << 32 | static_cast<uint32_t>(right_id->second);
    // A pair that is listed twice counts with its last rank, as in the libraries these files come from.
    merges_.insert_or_assign(key, Merge{static_cast<int32_t>(rank), joined_id->second});
    if (words_are_independent_ && HasInnerSpaceMark(joined)) words_are_independent_ = false;
  }
  return absl::OkStatus();
}

absl::Status BpeModel::AddMergesByScore(const ModelSpec& spec) {
  const std::vector<int32_t> ranks = RanksOf(spec.scores);
  const size_t max_merges = kMaxMergesPerPiece * spec.vocab.size() + kMergeAllowance;
  for (size_t i = 0; i < spec.vocab.size(); ++i) {
    const auto& [piece, id] = spec.vocab[i];
    if (spec.not_text.contains(id)) continue;
    const std::string_view joined = piece;
    bool mergeable = false;
    for (size_t at = 1; at < joined.size(); ++at) {
      if ((static_cast<unsigned char>(joined[at]) & 0xC0) == 0x80) continue;  // inside a character
      const auto left = by_text_.find(joined.substr(0, at));
      if (left == by_text_.end()) continue;
      const auto right = by_text_.find(joined.substr(at));
      if (right == by_text_.end()) continue;
      mergeable = true;
      const uint64_t key = static_cast<uint64_t>(left->second) << 32 | static_cast<uint32_t>(right->second);
      merges_.emplace(key, Merge{ranks[i], id});
    }
    if (mergeable && HasInnerSpaceMark(joined)) words_are_independent_ = false;
    if (merges_.size() > max_merges) {
      return absl::InvalidArgumentError(
          Concat("the pieces can be merged in more than ", max_merges, " ways"));
    }
  }
  return absl::OkStatus();
}

absl::Status BpeModel::Encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (word.empty()) return absl::OkStatus();
  const auto found = by_text_.find(word);
  if (found == by_text_.end()) return Merged(word, ids);
  const TokenId id = found->second;
  if (ignore_merges_) {
    ids.push_back(id);
    return absl::OkStatus();
  }
  return memo_.Encode(id, ids, [&] { return Merged(word, ids); });
}

absl::Status BpeModel::Merged(std::string_view word, std::vector<TokenId>& ids) const {
  std::vector<TokenId> symbols;
  if (absl::Status status = FirstSymbols(word, symbols); !status.ok()) return status;
  if (symbols.size() <= kShortWord) {
    MergeShort(symbols);
  } else {
    MergeLong(symbols);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
  return absl::OkStatus();
}

absl::Status BpeModel::FirstSymbols(std::string_view word, std::vector<TokenId>& symbols) const {
  symbols.reserve(word.size());
  bool last_was_unknown = false;
  const auto add_unknown = [&](std::string_view what) -> absl::Status {
    if (!unk_id_.has_value()) {
      return absl::InvalidArgumentError(Concat("the vocabulary has no token for ", what));
    }
    if (!(fuse_unk_ && last_was_unknown)) symbols.push_back(*unk_id_);
    last_was_unknown = true;
    return absl::OkStatus();
  };
  if (alphabet_ == Alphabet::kBytes) {
    for (const char c : word) {
      const unsigned char byte = static_cast<unsigned char>(c);
      if (byte_ids_[byte] >= 0) {
        symbols.push_back(byte_ids_[byte]);
        last_was_unknown = false;
      } else if (absl::Status status = add_unknown(absl::StrFormat("byte 0x%02X", byte)); !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }
  while (!word.empty()) {
    const std::string_view character = word.substr(0, ReadUtf8(word).bytes);
    word.remove_prefix(character.size());
    if (const auto found = by_text_.find(character); found != by_text_.end()) {
      symbols.push_back(found->second);
      last_was_unknown = false;
      continue;
    }
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
    if (byte_fallback_ &&
        std::all_of(character.begin(), character.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : character) symbols.push_back(byte_id(c));
      last_was_unknown = false;
    } else if (absl::Status status = add_unknown(Quoted(character)); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

const BpeModel::Merge* BpeModel::FindMerge(TokenId left, TokenId right) const {
  const auto found = merges_.find(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BpeModel::MergeShort(std::vector<TokenId>& symbols) const {
  if (symbols.size() < 2) return;
  std::array<const Merge*, kShortWord> merge{};  // of symbols i and i + 1; null: none
  size_t size = symbols.size();
  for (size_t i = 0; i + 1 < size; ++i) merge[i] = FindMerge(symbols[i], symbols[i + 1]);
  while (size > 1) {
    size_t best = size;
    for (size_t i = 0; i + 1 < size; ++i) {
      if (merge[i] != nullptr && (best == size || merge[i]->rank < merge[best]->rank)) best = i;
    }
    if (best == size) break;
    symbols[best] = merge[best]->id;
    symbols.erase(symbols.begin() + best + 1);
    std::copy(merge.begin() + best + 1, merge.begin() + size, merge.begin() + best);
    --size;
    if (best > 0) merge[best - 1] = FindMerge(symbols[best - 1], symbols[best]);
    merge[best] = best + 1 < size ? FindMerge(symbols[best], symbols[best + 1]) : nullptr;
  }
}

void BpeModel::MergeLong(std::vector<TokenId>& symbols) const {
  // A doubly linked list over the symbols and a heap of candidate pairs, lowest rank and then leftmost first.
  // A candidate is stale if either side has changed since; it is then skipped. O(n log n).
  struct Candidate {
    int32_t rank;
    int32_t left;
    TokenId left_id, right_id;
    TokenId merged;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const int32_t size = static_cast<int32_t>(symbols.size());
  std::vector<int32_t> previous(size), next(size);
  for (int32_t i = 0; i < size; ++i) {
    previous[i] = i - 1;
    next[i] = i + 1 < size ? i + 1 : -1;
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<Candidate>> candidates;
  const auto offer = [&](int32_t left) {
    if (left < 0 || next[left] < 0) return;
    const TokenId left_id = symbols[left];
    const TokenId right_id = symbols[next[left]];
    const Merge* merge = FindMerge(left_id, right_id);
    if (merge != nullptr) candidates.push({merge->rank, left, left_id, right_id, merge->id});
  };
  for (int32_t i = 0; i + 1 < size; ++i) offer(i);
  constexpr TokenId kGone = -1;
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    const int32_t right = next[best.left];
    if (symbols[best.left] != best.left_id || right < 0 || symbols[right] != best.right_id) continue;
    symbols[best.left] = best.merged;
    symbols[right] = kGone;
    next[best.left] = next[right];
    if (next[right] >= 0) previous[next[right]] = best.left;
    offer(previous[best.left]);
    offer(best.left);
  }
  std::erase(symbols, kGone);
}

}  // namespace memgate
