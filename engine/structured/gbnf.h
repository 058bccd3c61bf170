// Grammars as text, in the notation that llama.cpp made known as GBNF.
#ifndef MEMGATE_ENGINE_STRUCTURED_GBNF_H_
#define MEMGATE_ENGINE_STRUCTURED_GBNF_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/structured/grammar.h"

namespace memgate {

// Rules `name ::= alternatives`, the text begins with rule `root`:
//
//   "text"           with \n \r \t \\ \" \' \[ \] \xHH \uHHHH \UHHHHHHHH
//   [a-z_] [^"\\]    one character of, or not of, a class; the same escapes, and \- and \^
//   .                any character
//   name             another rule; names are letters, digits, - and _
//   ( ... )  |       grouping, alternatives
//   * + ? {n} {n,} {n,m} {,m}   repetition of what stands before it, also behind blanks
//   # comment        to the end of the line
//
// A rule ends with its line, unless a bracket is open or the line ends after "::=" or "|"; an alternative may
// also begin the next line with "|". INVALID_ARGUMENT with line and column for what is not of this form, for
// rules that are missing, defined twice or left-recursive, for surrogates, for more than 64 open brackets,
// and for grammars that are too large (GrammarBuilder::kMaxNodes, CompileBudget) or match nothing.
absl::StatusOr<Grammar> ParseGbnf(std::string_view text);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_GBNF_H_
