#include "engine/kernels/weight_format.h"

#include "engine/base/strings.h"

namespace memgate {

std::string_view WeightFormatName(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "f32";
  }
  return "unknown";
}

absl::StatusOr<WeightFormat> ParseWeightFormat(std::string_view name) {
  if (name == "f32") return WeightFormat::kF32;
  return absl::InvalidArgumentError(Concat("unknown weight format '", name, "'; known: f32"));
}

}  // namespace memgate
