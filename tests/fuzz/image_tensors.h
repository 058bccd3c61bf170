// The tensors of a safetensors image in memory.
#ifndef MEMGATE_TESTS_FUZZ_IMAGE_TENSORS_H_
#define MEMGATE_TESTS_FUZZ_IMAGE_TENSORS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/safetensors.h"

namespace memgate {

class ImageTensors : public TensorSource {
 public:
  // `image` must outlive the source. Errors as ParseSafetensorsHeader.
  static absl::StatusOr<ImageTensors> Parse(std::string_view image) {
    const auto bytes = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(image.data()), image.size());
    auto entries = ParseSafetensorsHeader(bytes);
    if (!entries.ok()) return entries.status();
    return ImageTensors(bytes, *std::move(entries));
  }

  absl::StatusOr<TensorView> Find(std::string_view name) const override {
    for (const SafetensorsEntry& entry : entries_) {
      if (entry.name != name || !entry.dtype.has_value()) continue;
      return TensorView{entry.name, *entry.dtype, entry.shape, image_.data() + entry.begin,
                        entry.end - entry.begin};
    }
    return absl::NotFoundError("no such tensor");
  }
  bool Has(std::string_view name) const override { return Find(name).ok(); }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const SafetensorsEntry& entry : entries_) {
      if (entry.dtype.has_value()) names.push_back(entry.name);
    }
    return names;
  }

 private:
  ImageTensors(absl::Span<const std::byte> image, std::vector<SafetensorsEntry> entries)
      : image_(image), entries_(std::move(entries)) {}

  absl::Span<const std::byte> image_;
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_IMAGE_TENSORS_H_
