// The unigram language model of SentencePiece: the TokenModel that cuts a word into its most likely pieces.
#ifndef MEMGATE_ENGINE_TEXT_UNIGRAM_MODEL_H_
#define MEMGATE_ENGINE_TEXT_UNIGRAM_MODEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/byte_trie.h"
#include "engine/text/token_model.h"
#include "engine/text/word_memo.h"

namespace memgate {

// Of all ways to cut a word into pieces the one whose scores (log probabilities) have the largest sum (Kudo
// 2018, arXiv 1804.10959, section 3.2), found by dynamic programming. A character that is no piece by itself
// may also be unknown, at 10 less than the smallest score; a run of unknown characters becomes its bytes or
// one unknown token. Of equal sums the one with the longer last piece counts. Thread-safe after construction.
class UnigramModel : public TokenModel {
 public:
  // REQUIRES: spec.kind is kUnigram and TokenModel::Create's checks of the scores hold.
  static absl::StatusOr<std::unique_ptr<UnigramModel>> Create(const ModelSpec& spec);

  absl::Status Encode(std::string_view word, std::vector<TokenId>& ids) const override;
  bool words_are_independent() const override { return words_are_independent_; }

 private:
  // One piece of a way to cut a text. A text has one per byte.
  struct Step {
    uint16_t bytes = 0;  // of the piece; 0: none
    bool known = false;  // it is a piece, not an unknown character
  };

  UnigramModel() = default;
  absl::Status EncodeWord(std::string_view word, std::vector<TokenId>& ids) const;
  std::vector<Step> BestSteps(std::string_view word) const;
  std::vector<Step> LastSteps(std::string_view word) const;
  absl::Status AppendUnknown(std::string_view characters, std::vector<TokenId>& ids) const;

  ByteTrie pieces_;             // piece -> id, without those that no text becomes
  std::vector<double> scores_;  // [largest id + 1]
  double unknown_score_ = 0;
  std::array<TokenId, 256> byte_ids_{};  // -1: none, or no byte fallback
  std::optional<TokenId> unk_id_;
  bool words_are_independent_ = false;
  WordMemo memo_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_UNIGRAM_MODEL_H_
