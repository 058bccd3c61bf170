// Cuts a chat template into text and the tokens of its tags.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_LEXER_H_
#define MEMGATE_ENGINE_TEXT_JINJA_LEXER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace memgate::jinja {

enum class TokenType {
  kText,        // outside tags, with white space control applied
  kPrintBegin,  // {{
  kPrintEnd,    // }}
  kBlockBegin,  // {%
  kBlockEnd,    // %}
  kName,
  kString,  // unescaped
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  std::string text;
  int line = 1;
};

// The rules that Hugging Face renders with: the line break after a block tag is dropped (trim_blocks), so is
// the white space before a block tag that starts a line (lstrip_blocks), one line break at the very end goes,
// and "-" in a tag takes all white space on its side. The last token is kEnd. INVALID_ARGUMENT with the line
// if a tag, string or comment does not end or a character fits nowhere.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_LEXER_H_
