// RoPE frequencies of a model, scaling included.
#ifndef MEMGATE_ENGINE_MODEL_ROPE_FREQUENCIES_H_
#define MEMGATE_ENGINE_MODEL_ROPE_FREQUENCIES_H_

#include <vector>

#include "engine/checkpoint/model_config.h"

namespace memgate {

// theta^(-2i/D) for i in [0, D/2), divided by linear_factor, or stretched per frequency as Llama 3.1 does:
// long wavelengths by `factor`, short ones not at all, a linear blend between. Unit: radians per position.
std::vector<double> RopeFrequencies(const RopeConfig& rope, int head_dim);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MODEL_ROPE_FREQUENCIES_H_
