// Byte-pair encoding: a vocabulary and ranked merges.
#ifndef MEMGATE_ENGINE_TEXT_BPE_MODEL_H_
#define MEMGATE_ENGINE_TEXT_BPE_MODEL_H_

#include <array>
#include <atomic>
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
#include "engine/text/tokenizer.h"

namespace memgate {

// Ids above this are refused, so that no table grows with a number that a file merely claims.
inline constexpr int64_t kMaxVocabSize = 4'000'000;

enum class BpeAlphabet {
  kBytes,       // byte-level: a word starts as its bytes
  kCharacters,  // SentencePiece style: a word starts as its characters; unknown ones become bytes or <unk>
};

struct BpeSpec {
  BpeAlphabet alphabet = BpeAlphabet::kBytes;
  // Each piece as tokenizer.json spells it. Ids are distinct and in [0, kMaxVocabSize).
  std::vector<std::pair<std::string, TokenId>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // best first, spelled like `vocab`
  // Special tokens: no text is encoded as one of these, even if the merges could spell it.
  absl::flat_hash_set<TokenId> not_text;
  std::optional<std::string> unk_token;
  bool fuse_unk = false;
  bool byte_fallback = false;  // kCharacters only
  bool ignore_merges = false;  // a word that is a piece becomes that piece, whatever the merges say
};

// Thread-safe after construction.
class BpeModel {
 public:
  // INVALID_ARGUMENT names the merge or piece that is wrong.
  static absl::StatusOr<std::unique_ptr<BpeModel>> Create(const BpeSpec& spec);

  // Appends the ids of `word` (valid UTF-8, one piece of the pre-tokeniser).
  // INVALID_ARGUMENT if a byte or character has no token and there is no unknown token: nothing is dropped.
  absl::Status Encode(std::string_view word, std::vector<TokenId>& ids) const;

  // True if no piece holds a space mark (U+2581) after another character, so that a text may be cut before
  // each word without changing its ids.
  bool words_are_independent() const { return words_are_independent_; }

 private:
  struct Merge {
    int32_t rank = 0;
    TokenId id = 0;
  };
  // What Encode makes of a word that is spelled like a piece; found out at its first use.
  enum class Memo : uint8_t { kUnknown, kSelf, kOther };

  BpeModel() = default;
  absl::Status AddMerges(const BpeSpec& spec, const StringViewMap<TokenId>& spelled);
  absl::Status Merged(std::string_view word, std::vector<TokenId>& ids) const;
  absl::Status FirstSymbols(std::string_view word, std::vector<TokenId>& symbols) const;
  const Merge* FindMerge(TokenId left, TokenId right) const;
  void MergeShort(std::vector<TokenId>& symbols) const;
  void MergeLong(std::vector<TokenId>& symbols) const;

  // Constant after Create, except for the memo, whose entries only ever go from kUnknown to one value.
  BpeAlphabet alphabet_ = BpeAlphabet::kBytes;
  std::vector<std::string> words_;               // backs `by_text_`
  StringViewMap<TokenId> by_text_;               // piece as it stands in a text -> id
  absl::flat_hash_map<uint64_t, Merge> merges_;  // left << 32 | right
  std::array<TokenId, 256> byte_ids_{};          // -1: none
  std::optional<TokenId> unk_id_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool words_are_independent_ = false;
  std::unique_ptr<std::atomic<Memo>[]> memo_;  // [largest id + 1]
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_BPE_MODEL_H_
