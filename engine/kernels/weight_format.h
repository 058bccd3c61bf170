// How linear layers hold their weights. The one list of formats; kernels/linear.h implements them.
#ifndef MEMGATE_ENGINE_KERNELS_WEIGHT_FORMAT_H_
#define MEMGATE_ENGINE_KERNELS_WEIGHT_FORMAT_H_

#include <string_view>

#include "absl/status/statusor.h"

namespace memgate {

enum class WeightFormat { kF32, kBf16, kInt8, kInt4 };

std::string_view WeightFormatName(WeightFormat format);  // "f32", "bf16", "int8", "int4"
// INVALID_ARGUMENT lists the formats there are.
absl::StatusOr<WeightFormat> ParseWeightFormat(std::string_view name);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_WEIGHT_FORMAT_H_
