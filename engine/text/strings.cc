#include "engine/text/strings.h"

#include "absl/strings/escaping.h"
#include "engine/text/unicode.h"

namespace memgate {

std::string Quoted(std::string_view text) {
  constexpr size_t kMostBytes = 200;
  const bool valid = CheckUtf8(text).ok();
  std::string_view shown = text.substr(0, kMostBytes);
  if (valid) shown = shown.substr(0, CompleteUtf8Bytes(shown));
  return Concat("\"", valid ? absl::Utf8SafeCEscape(ToAbsl(shown)) : absl::CEscape(ToAbsl(shown)),
                shown.size() < text.size() ? "...\"" : "\"");
}

}  // namespace memgate
