// Any bytes as a safetensors file: the header is refused, or every tensor it lists can be read.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "engine/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::Span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  auto entries = memgate::ParseSafetensorsHeader(file);
  if (!entries.ok()) return 0;
  for (memgate::SafetensorsEntry& entry : *entries) {
    if (entry.begin > entry.end || entry.end > size) std::abort();
    if (!entry.dtype.has_value()) continue;
    const memgate::TensorView view{entry.name, *entry.dtype, std::move(entry.shape),
                                   file.data() + entry.begin, entry.end - entry.begin};
    if (memgate::DTypeBytes(view.dtype, view.elements()) != static_cast<int64_t>(view.bytes)) std::abort();
    std::vector<float> values(view.elements());
    memgate::ToFloat(view, absl::MakeSpan(values));
  }
  return 0;
}
