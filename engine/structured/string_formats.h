// Values of "format" in JSON schemas that can be enforced.
#ifndef MEMGATE_ENGINE_STRUCTURED_STRING_FORMATS_H_
#define MEMGATE_ENGINE_STRUCTURED_STRING_FORMATS_H_

#include <string_view>

namespace memgate {

// A pattern (text_pattern.h) whose texts all have the format; empty if the format is not known. They are
// fewer than the format allows where that keeps the pattern short: years 1000 to 9999, no leap seconds, IPv6
// addresses in full, host names of at most four labels, URIs with an authority.
std::string_view PatternOfFormat(std::string_view format);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_STRING_FORMATS_H_
