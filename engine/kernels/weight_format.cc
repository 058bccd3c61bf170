#include "engine/kernels/weight_format.h"

#include <string>

#include "engine/base/strings.h"

namespace memgate {
namespace {

constexpr struct {
  WeightFormat format;
  std::string_view name;
} kFormats[] = {{WeightFormat::kF32, "f32"},
                {WeightFormat::kBf16, "bf16"},
                {WeightFormat::kInt8, "int8"},
                {WeightFormat::kInt4, "int4"}};

}  // namespace

std::string_view WeightFormatName(WeightFormat format) {
  for (const auto& known : kFormats) {
    if (known.format == format) return known.name;
  }
  return "unknown";
}

absl::StatusOr<WeightFormat> ParseWeightFormat(std::string_view name) {
  std::string names;
  for (const auto& known : kFormats) {
    if (known.name == name) return known.format;
    names += Concat(names.empty() ? "" : ", ", known.name);
  }
  return absl::InvalidArgumentError(Concat("unknown weight format '", name, "'; known: ", names));
}

}  // namespace memgate
