// Regular expressions of JSON schemas ("pattern").
#ifndef MEMGATE_ENGINE_STRUCTURED_TEXT_PATTERN_H_
#define MEMGATE_ENGINE_STRUCTURED_TEXT_PATTERN_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/structured/text_language.h"

namespace memgate {

// The texts in which `pattern` is found somewhere, as ECMA-262 reads it, with the Unicode flag. A subset:
//
//   abc . [a-z] [^a-z]    characters, any but line ends, classes
//   \d \D \w \W \s \S     classes, also inside []
//   \t \n \r \f \v \0 \xHH \uHHHH \u{H...} and \ before punctuation
//   ( ) (?: ) |           groups (nothing is captured), alternatives
//   * + ? {n} {n,} {n,m}  repetition; a ? behind it changes nothing here
//   ^ $                   only at the beginning and end of the pattern or of its outermost alternatives
//
// INVALID_ARGUMENT, with the place, for anything else: look-around, back references, \b, \p, named groups,
// and for patterns of more than 2,000 bytes or 64 open groups. No dialect but ECMA's is read: \d is 0-9.
absl::StatusOr<TextLanguages::Expression> ParseTextPattern(std::string_view pattern,
                                                           TextLanguages& languages);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_TEXT_PATTERN_H_
