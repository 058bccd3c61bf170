// Byte-pair encoding: the TokenModel that merges pairs of pieces.
#ifndef MEMGATE_ENGINE_TEXT_BPE_MODEL_H_
#define MEMGATE_ENGINE_TEXT_BPE_MODEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/strings.h"
#include "engine/text/token_model.h"
#include "engine/text/word_memo.h"

namespace memgate {

// Thread-safe after construction.
class BpeModel : public TokenModel {
 public:
  // REQUIRES: spec.kind is kBpe.
  static absl::StatusOr<std::unique_ptr<BpeModel>> Create(const ModelSpec& spec);

  absl::Status Encode(std::string_view word, std::vector<TokenId>& ids) const override;
  bool words_are_independent() const override { return words_are_independent_; }

 private:
  struct Merge {
    int32_t rank = 0;
    TokenId id = 0;
  };
  // Of unused pieces that a text was merged into: the two symbols that were offered for it last.
  using Halves = absl::flat_hash_map<TokenId, std::pair<TokenId, TokenId>>;

  BpeModel() = default;
  absl::Status AddMerges(const ModelSpec& spec, const StringViewMap<TokenId>& spelled);
  absl::Status AddMergesByScore(const ModelSpec& spec);
  absl::Status Merged(std::string_view word, std::vector<TokenId>& ids) const;
  bool IsHalf(std::string_view text) const;
  TokenId HalfId(std::string_view text);
  absl::Status FirstSymbols(std::string_view word, std::vector<TokenId>& symbols) const;
  absl::Status FirstBytes(std::string_view word, std::vector<TokenId>& symbols) const;
  absl::Status AppendUnknown(std::string_view character, bool& after_unknown,
                             std::vector<TokenId>& symbols) const;
  const Merge* FindMerge(TokenId left, TokenId right, Halves& halves) const;
  void MergeShort(std::vector<TokenId>& symbols, Halves& halves) const;
  void MergeLong(std::vector<TokenId>& symbols, Halves& halves) const;
  absl::Status AppendIds(TokenId symbol, const Halves& halves, bool& after_unknown,
                         std::vector<TokenId>& ids) const;

  Alphabet alphabet_ = Alphabet::kBytes;
  std::vector<std::string> words_;               // backs `by_text_`
  StringViewMap<TokenId> by_text_;               // piece as it stands in a text -> id
  absl::flat_hash_map<uint64_t, Merge> merges_;  // left << 32 | right
  // Characters that are no piece, but one half of a merge. As symbols they have the numbers from
  // first_character_ on, in this order.
  std::vector<std::string_view> characters_;
  StringViewMap<TokenId> by_character_;
  TokenId first_character_ = 0;
  absl::flat_hash_set<TokenId> unused_;  // that are made by merges
  std::array<TokenId, 256> byte_ids_{};  // -1: none
  std::optional<TokenId> unk_id_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool words_are_independent_ = false;
  WordMemo memo_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_BPE_MODEL_H_
