// Tokens that are found in a text before anything else: "<|im_start|>" and the like.
#ifndef MEMGATE_ENGINE_TEXT_ADDED_TOKENS_H_
#define MEMGATE_ENGINE_TEXT_ADDED_TOKENS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/byte_trie.h"
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
  // With `normalized`: what is looked for. Empty: `content`, normalised.
  std::string normalized_content;
};

// A stretch of a text: an added token, or text between them (never empty).
struct TextSegment {
  std::string_view text;
  std::optional<TokenId> token;
};

// Finds the longest token at the leftmost place. Thread-safe after construction.
class AddedTokenMatcher {
 public:
  // What is looked for: token.content, or its normalised form. Empty patterns are left out.
  struct Entry {
    AddedToken token;
    std::string pattern;
  };
  explicit AddedTokenMatcher(std::vector<Entry> entries);
  AddedTokenMatcher() = default;

  bool empty() const { return tokens_.empty(); }

  // Appends the segments of `text` (valid UTF-8), which point into it. With kPlainText special tokens stay
  // text.
  void Split(std::string_view text, SpecialTokens special, std::vector<TextSegment>& segments) const;

 private:
  std::vector<Entry> tokens_;
  ByteTrie patterns_;  // pattern -> index in tokens_
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_ADDED_TOKENS_H_
