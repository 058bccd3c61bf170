// Input: a chat template. Compiling and rendering it must end, within its limits, and give valid UTF-8.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/text/chat_template.h"
#include "engine/text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  const auto compiled = ChatTemplate::Compile({reinterpret_cast<const char*>(data), size});
  if (!compiled.ok()) return 0;
  const auto text =
      (*compiled)->Render({{"system", "Be brief."}, {"user", " Grüße "}, {"assistant", "<think>x</think>y"}},
                          {true, "<s>", "</s>", 1753600000});
  if (text.ok() && !CheckUtf8(*text).ok()) std::abort();
  return 0;
}
