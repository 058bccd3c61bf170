// Text out of files, made safe for a terminal.
#ifndef MEMGATE_SERVER_PRINTABLE_H_
#define MEMGATE_SERVER_PRINTABLE_H_

#include <string>
#include <string_view>

namespace memgate {

// `text` with every control character (line feeds among them) and every byte that is not UTF-8 spelled as
// "\x1b": a name in a file cannot move the cursor, change colours or forge a line.
std::string Printable(std::string_view text);

}  // namespace memgate

#endif  // MEMGATE_SERVER_PRINTABLE_H_
