#include "engine/memory/module_reading.h"

#include <algorithm>
#include <cmath>
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
    const auto view = FindShaped(tensors, Name(l, name), shape);
    if (!view.ok()) return view.status();
    const size_t begin = all.size();
    all.resize(begin + static_cast<size_t>(view->elements()));
    const absl::Span<float> layer = absl::MakeSpan(all).subspan(begin);
    ToFloat(*view, layer);
    for (const float x : layer) {
      if (!std::isfinite(x)) {
        return absl::InvalidArgumentError(
            Concat(tensors.Describe(Name(l, name)), " holds a number that is not finite"));
      }
    }
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
