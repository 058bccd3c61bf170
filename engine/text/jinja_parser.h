// From the tokens of a chat template to its syntax tree.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_PARSER_H_
#define MEMGATE_ENGINE_TEXT_JINJA_PARSER_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/jinja_ast.h"

namespace memgate::jinja {

// INVALID_ARGUMENT with the line for a syntax error, UNIMPLEMENTED with the line for a tag, filter or test
// outside the supported subset. Nesting and size are bounded.
absl::StatusOr<Body> ParseTemplate(std::string_view source);

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_PARSER_H_
