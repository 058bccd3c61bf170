#include "engine/text/strings.h"

#include "absl/strings/escaping.h"
#include "engine/text/unicode.h"

namespace memgate {

std::string Quoted(std::string_view text) {
  const bool valid = CheckUtf8(text).ok();
  return Concat("\"", valid ? absl::Utf8SafeCEscape(ToAbsl(text)) : absl::CEscape(ToAbsl(text)), "\"");
}

}  // namespace memgate
