#include "server/printable.h"

#include "absl/strings/str_format.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// C0, DEL and C1.
bool IsControl(char32_t c) { return c < 0x20 || (c >= 0x7f && c < 0xa0); }

}  // namespace

std::string Printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Step step = ReadUtf8(text);
    if (step.state == Utf8State::kValid && !IsControl(step.code_point)) {
      out.append(text.substr(0, step.bytes));
    } else {
      for (const char byte : text.substr(0, step.bytes)) {
        absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(byte));
      }
    }
    text.remove_prefix(step.bytes);
  }
  return out;
}

}  // namespace memgate
