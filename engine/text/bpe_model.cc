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

bool IsOneCharacter(std::string_view text) { return !text.empty() && ReadUtf8(text).bytes == text.size(); }

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
    if (spec.scores.empty() && spec.unused.contains(id)) continue;
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
  model->first_character_ = largest + 1;

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
    if (spec.not_text.contains(joined_id->second) || spec.unused.contains(joined_id->second)) continue;
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
    const auto entry = by_text_.find(piece);
    if (entry == by_text_.end()) continue;
    const std::string_view joined = entry->first;  // stays where it is
    int ways = 0;
    for (size_t at = 1; at < joined.size(); ++at) {
      if ((static_cast<unsigned char>(joined[at]) & 0xC0) == 0x80) continue;  // inside a character
      const std::string_view left = joined.substr(0, at), right = joined.substr(at);
      if (!IsHalf(left) || !IsHalf(right)) continue;
      ++ways;
      const uint64_t key = static_cast<uint64_t>(HalfId(left)) << 32 | static_cast<uint32_t>(HalfId(right));
      merges_.emplace(key, Merge{ranks[i], id});
    }
    if (ways > 0 && HasInnerSpaceMark(joined)) words_are_independent_ = false;
    if (ways > 0 && spec.unused.contains(id)) unused_.insert(id);
    // What such a piece is taken apart into may have been decided in another word.
    if (ways > 1 && spec.unused.contains(id)) words_are_independent_ = false;
    if (merges_.size() > max_merges) {
      return absl::InvalidArgumentError(
          Concat("the pieces can be merged in more than ", max_merges, " ways"));
    }
  }
  return absl::OkStatus();
}

// Merges join any two symbols whose texts are a piece together. A symbol is a piece or, where a text begins
// with its characters, one of these.
bool BpeModel::IsHalf(std::string_view text) const { return by_text_.contains(text) || IsOneCharacter(text); }

TokenId BpeModel::HalfId(std::string_view text) {
  if (const auto piece = by_text_.find(text); piece != by_text_.end()) return piece->second;
  const TokenId next = first_character_ + static_cast<TokenId>(characters_.size());
  const auto [character, is_new] = by_character_.try_emplace(text, next);
  if (is_new) characters_.push_back(text);
  return character->second;
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
  Halves halves;
  if (symbols.size() <= kShortWord) {
    MergeShort(symbols, halves);
  } else {
    MergeLong(symbols, halves);
  }
  if (characters_.empty() && unused_.empty()) {
    ids.insert(ids.end(), symbols.begin(), symbols.end());
    return absl::OkStatus();
  }
  bool after_unknown = false;
  for (const TokenId symbol : symbols) {
    if (absl::Status status = AppendIds(symbol, halves, after_unknown, ids); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// What a symbol is in the end, once nothing more is merged.
absl::Status BpeModel::AppendIds(TokenId symbol, const Halves& halves, bool& after_unknown,
                                 std::vector<TokenId>& ids) const {
  if (symbol >= first_character_) {
    return AppendUnknown(characters_[symbol - first_character_], after_unknown, ids);
  }
  if (const auto made_of = halves.find(symbol); made_of != halves.end()) {
    const auto [left, right] = made_of->second;
    absl::Status status = AppendIds(left, halves, after_unknown, ids);
    return status.ok() ? AppendIds(right, halves, after_unknown, ids) : status;
  }
  const bool unknown = symbol == unk_id_;
  if (!(unknown && fuse_unk_ && after_unknown)) ids.push_back(symbol);
  after_unknown = unknown;
  return absl::OkStatus();
}

absl::Status BpeModel::FirstSymbols(std::string_view word, std::vector<TokenId>& symbols) const {
  symbols.reserve(word.size());
  if (alphabet_ == Alphabet::kBytes) return FirstBytes(word, symbols);
  bool after_unknown = false;
  while (!word.empty()) {
    const std::string_view character = word.substr(0, ReadUtf8(word).bytes);
    word.remove_prefix(character.size());
    auto found = by_text_.find(character);
    bool known = found != by_text_.end();
    if (!known && !by_character_.empty()) {
      found = by_character_.find(character);
      known = found != by_character_.end();
    }
    if (known) {
      symbols.push_back(found->second);
      after_unknown = false;
    } else if (absl::Status status = AppendUnknown(character, after_unknown, symbols); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status BpeModel::FirstBytes(std::string_view word, std::vector<TokenId>& symbols) const {
  bool after_unknown = false;
  for (const char c : word) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte_ids_[byte] >= 0) {
      symbols.push_back(byte_ids_[byte]);
      after_unknown = false;
      continue;
    }
    if (!unk_id_.has_value()) {
      return absl::InvalidArgumentError(absl::StrFormat("the vocabulary has no token for byte 0x%02X", byte));
    }
    if (!(fuse_unk_ && after_unknown)) symbols.push_back(*unk_id_);
    after_unknown = true;
  }
  return absl::OkStatus();
}

// The bytes of a character without a token or, where these have none either, the unknown token, once for a
// run of them.
absl::Status BpeModel::AppendUnknown(std::string_view character, bool& after_unknown,
                                     std::vector<TokenId>& symbols) const {
  const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
  if (byte_fallback_ &&
      std::all_of(character.begin(), character.end(), [&](char c) { return byte_id(c) >= 0; })) {
    for (const char c : character) symbols.push_back(byte_id(c));
    after_unknown = false;
    return absl::OkStatus();
  }
  if (!unk_id_.has_value()) {
    return absl::InvalidArgumentError(Concat("the vocabulary has no token for ", Quoted(character)));
  }
  if (!(fuse_unk_ && after_unknown)) symbols.push_back(*unk_id_);
  after_unknown = true;
  return absl::OkStatus();
}

const BpeModel::Merge* BpeModel::FindMerge(TokenId left, TokenId right, Halves& halves) const {
  const auto found = merges_.find(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
  if (found == merges_.end()) return nullptr;
  const Merge& merge = found->second;
  if (!unused_.empty() && unused_.contains(merge.id)) halves[merge.id] = {left, right};
  return &merge;
}

void BpeModel::MergeShort(std::vector<TokenId>& symbols, Halves& halves) const {
  if (symbols.size() < 2) return;
  std::array<const Merge*, kShortWord> merge{};  // of symbols i and i + 1; null: none
  size_t size = symbols.size();
  for (size_t i = 0; i + 1 < size; ++i) merge[i] = FindMerge(symbols[i], symbols[i + 1], halves);
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
    if (best > 0) merge[best - 1] = FindMerge(symbols[best - 1], symbols[best], halves);
    merge[best] = best + 1 < size ? FindMerge(symbols[best], symbols[best + 1], halves) : nullptr;
  }
}

void BpeModel::MergeLong(std::vector<TokenId>& symbols, Halves& halves) const {
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
    const Merge* merge = FindMerge(left_id, right_id, halves);
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
