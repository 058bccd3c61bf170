// Byte-pair encoding: the TokenModel that merges pairs of pieces.
#ifndef MEMGATE_ENGINE_TEXT_BPE_MODEL_H_
#define MEMGATE_ENGINE_TEXT_BPE_MODEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
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
  BpeModel() = default;
  absl::Status AddMerges(const ModelSpec& spec, const StringViewMap<TokenId>& spelled);
  absl::Status AddMergesByScore(const ModelSpec& spec);
  absl::Status Merged(std::string_view word, std::vector<TokenId>& ids) const;
  absl::Status FirstSymbols(std::string_view word, std::vector<TokenId>& symbols) const;
  const Merge* FindMerge(TokenId left, TokenId right) const;
  void MergeShort(std::vector<TokenId>& symbols) const;
  void MergeLong(std::vector<TokenId>& symbols) const;

  Alphabet alphabet_ = Alphabet::kBytes;
  std::vector<std::string> words_;               // backs `by_text_`
  StringViewMap<TokenId> by_text_;               // piece as it stands in a text -> id
  absl::flat_hash_map<uint64_t, Merge> merges_;  // left << 32 | right
  std::array<TokenId, 256> byte_ids_{};          // -1: none
  std::optional<TokenId> unk_id_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool words_are_independent_ = false;
  WordMemo memo_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_BPE_MODEL_H_
