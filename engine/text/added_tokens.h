// Tokens that are found in a text before anything else: "<|im_start|>" and the like.
#ifndef MEMGATE_ENGINE_TEXT_ADDED_TOKENS_H_
#define MEMGATE_ENGINE_TEXT_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/text/tokenizer.h"

namespace memgate {

// Longer ones are refused: a stream of text is held back until no added token can reach across a cut.
inline constexpr size_t kMaxAddedTokenBytes = 256;

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
  bool lstrip = false;       // swallows the white space before it
  bool rstrip = false;       // swallows the white space after it
  bool single_word = false;  // only where no word character touches it
  bool normalized = false;   // looked for in the normalised text rather than in the text as written
};

// A stretch of a text: an added token, or text between them (never empty).
struct TextSegment {
  std::string_view text;
  std::optional<TokenId> token;
};

// Finds the longest token at the leftmost place. Thread-safe after construction.
class AddedTokenMatcher {
 public:
  // `pattern` is what is looked for: token.content, or its normalised form.
  void Add(const AddedToken& token, std::string_view pattern);

  bool empty() const { return tokens_.empty(); }

  // Appends the segments of `text` (valid UTF-8), which point into it. With kPlainText special tokens stay
  // text.
  void Split(std::string_view text, SpecialTokens special, std::vector<TextSegment>& segments) const;

 private:
  struct Match {
    const AddedToken* token = nullptr;
    size_t bytes = 0;
  };
  Match LongestAt(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  // A trie: (node << 8 | byte) -> node, and node -> index in tokens_ (-1: none).
  absl::flat_hash_map<uint64_t, uint32_t> edges_;
  std::vector<int> token_at_node_ = {-1};
  std::array<bool, 256> can_start_{};
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_ADDED_TOKENS_H_
