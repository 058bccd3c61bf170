// Which weight format suits a model where nobody asked for one.
#ifndef MEMGATE_ENGINE_WEIGHT_CHOICE_H_
#define MEMGATE_ENGINE_WEIGHT_CHOICE_H_

#include <cstdint>
#include <string>

#include "engine/checkpoint/model_config.h"
#include "engine/kernels/weight_format.h"

namespace memgate {

struct WeightChoice {
  WeightFormat format = WeightFormat::kF32;
  std::string reason;  // for people
};

// f32 where the weights are so small that the caches hold much of them; int8 else; int4 where int8 would take
// most of the memory budget.
//
// The CPU has no say: integers of 8 bits have a quarter of the bytes of f32 for one row, and for many rows
// VNNI has four times the products per instruction. bf16 is never chosen: half the bytes, and where it is
// computed natively at all, on CPUs without matrix units no faster than f32 and slower than int8.
WeightChoice ChooseWeights(const ModelConfig& config, int64_t memory_budget_bytes);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_WEIGHT_CHOICE_H_
