// The text tokens of a vocabulary, as a tree of their bytes.
#ifndef MEMGATE_ENGINE_STRUCTURED_TOKEN_TRIE_H_
#define MEMGATE_ENGINE_STRUCTURED_TOKEN_TRIE_H_

#include <bitset>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "engine/structured/automaton.h"
#include "engine/text/tokenizer.h"

namespace memgate {

// One bit per token id: bit id % 64 of word id / 64.
using TokenBits = std::vector<uint64_t>;

// Thread-safe after construction.
class TokenTrie {
 public:
  // The tokens with an id below `vocab_size` that stand for text: not special ones, not those of `end_ids`,
  // not those without bytes. `tokenizer` must outlive the trie.
  TokenTrie(const Tokenizer& tokenizer, int vocab_size, absl::Span<const TokenId> end_ids);

  // What making one takes, roughly and rather too much, to be reserved before. Unit: bytes.
  static int64_t EstimateBytes(const Tokenizer& tokenizer, int vocab_size);

  // Sets the bits of all tokens whose bytes `automaton` can read from `state` on, and no others of text.
  // Looks at each node at most once, and not at what lies below one that leads nowhere; nor where the
  // automaton stays in one state whatever comes. The caller looks at automaton.exhausted().
  void Mark(Automaton& automaton, Automaton::State state, TokenBits& bits) const;

  const Tokenizer& tokenizer() const { return tokenizer_; }
  int vocab_size() const { return vocab_size_; }
  absl::Span<const TokenId> end_ids() const { return end_ids_; }
  // Of the longest token of text.
  int max_token_bytes() const { return max_depth_; }
  // What it holds. Unit: bytes.
  int64_t bytes() const;

 private:
  // In the order of a walk that visits a node before what lies below it.
  struct Node {
    uint32_t end = 0;          // the first node that is not below this one
    uint32_t first_token = 0;  // in tokens_; its own are those before the next node's
    uint16_t depth = 0;        // 0 for the first byte of a token
    uint8_t byte = 0;
    bool wide = false;  // much lies below it: bytes_below_ has it
  };

  class Builder;

  void MarkTokens(uint32_t first, uint32_t last, TokenBits& bits) const {
    for (uint32_t i = first; i < last; ++i) bits[tokens_[i] / 64] |= uint64_t{1} << (tokens_[i] % 64);
  }

  const Tokenizer& tokenizer_;
  const int vocab_size_;
  const std::vector<TokenId> end_ids_;
  std::vector<Node> nodes_;      // and one more, which ends the last one's tokens
  std::vector<TokenId> tokens_;  // by their bytes
  absl::flat_hash_map<uint32_t, std::bitset<256>> bytes_below_;
  int max_depth_ = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_TOKEN_TRIE_H_
