#include "engine/memory/module_reading.h"

#include <algorithm>
#include <utility>

#include "engine/base/strings.h"

namespace memgate {

std::string LayerTensors::Name(int layer, std::string_view name) const {
  return Concat(prefix, layer, infix, name);
}

bool LayerTensors::HasAny(std::string_view group) const {
  const std::vector<std::string> names = tensors.Names();
  for (int l = 0; l < num_layers; ++l) {
    const std::string wanted = Name(l, group);
    const auto found = std::lower_bound(names.begin(), names.end(), wanted);
    if (found != names.end() && found->starts_with(wanted)) return true;
  }
  return false;
}

absl::StatusOr<std::vector<float>> LayerTensors::Read(std::string_view name,
                                                      absl::Span<const int64_t> shape) const {
  std::vector<float> all;
  for (int l = 0; l < num_layers; ++l) {
    if (absl::Status s = AppendNumbers(tensors, Name(l, name), shape, all); !s.ok()) return s;
  }
  return all;
}

std::vector<float> LayerReader::Read(std::string_view name, std::initializer_list<int64_t> shape) {
  if (!status_.ok()) return {};
  auto values = source_.Read(name, absl::MakeConstSpan(shape.begin(), shape.size()));
  if (!values.ok()) {
    status_ = values.status();
    return {};
  }
  return *std::move(values);
}

}  // namespace memgate
