// Any bytes as a safetensors file: the header is refused, or every tensor it lists can be read.
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/checkpoint/safetensors.h"
#include "tests/fuzz/input_parts.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  const absl::Span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  auto entries = ParseSafetensorsHeader(file);
  if (!entries.ok()) return 0;
  for (SafetensorsEntry& entry : *entries) {
    Require(entry.begin <= entry.end && entry.end <= size);
    if (!entry.dtype.has_value()) continue;
    const TensorView view{entry.name, *entry.dtype, std::move(entry.shape), file.data() + entry.begin,
                          entry.end - entry.begin};
    Require(DTypeBytes(view.dtype, view.elements()) == static_cast<int64_t>(view.bytes));
    std::vector<float> values(view.elements());
    ToFloat(view, absl::MakeSpan(values));
  }
  return 0;
}
