#include "engine/weight_choice.h"

#include "absl/strings/str_format.h"
#include "engine/model/weights.h"

namespace memgate {
namespace {

// A few times a last-level cache of 16 to 32 MiB.
constexpr int64_t kSmallModelBytes = int64_t{128} << 20;
// Of the memory budget; the rest is for sessions and work buffers.
constexpr double kLargestShare = 0.75;

double InMiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace

WeightChoice ChooseWeights(const ModelConfig& config, int64_t memory_budget_bytes) {
  const int64_t f32_bytes = PackedWeightBytes(config, WeightFormat::kF32);
  if (f32_bytes <= kSmallModelBytes) {
    return {WeightFormat::kF32,
            absl::StrFormat("a small model: %.1f MiB in f32 leave little to gain", InMiB(f32_bytes))};
  }
  const int64_t int8_bytes = PackedWeightBytes(config, WeightFormat::kInt8);
  if (static_cast<double>(int8_bytes) > kLargestShare * static_cast<double>(memory_budget_bytes)) {
    return {WeightFormat::kInt4, absl::StrFormat("%.0f MiB in int8 would take most of a budget of %.0f MiB",
                                                 InMiB(int8_bytes), InMiB(memory_budget_bytes))};
  }
  return {WeightFormat::kInt8,
          absl::StrFormat("%.0f MiB instead of %.0f MiB in f32", InMiB(int8_bytes), InMiB(f32_bytes))};
}

}  // namespace memgate
