// Tensors of memory modules with random values, for tests that change or miss one of them.
#ifndef MEMGATE_TESTS_SUPPORT_MODULE_TENSORS_H_
#define MEMGATE_TESTS_SUPPORT_MODULE_TENSORS_H_

#include <cstdint>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "tests/support/safetensors_writer.h"

namespace memgate {

// layers.{i}.retention.* and layers.{i}.matrix.* for the shapes of `base`.
std::vector<TensorToWrite> MemgateMatrixTensors(const ModelConfig& base, uint64_t seed = 1);

// layers.{i}.edgeinfinite.* with inner width `inner`.
std::vector<TensorToWrite> EdgeInfiniteTensors(const ModelConfig& base, int inner, uint64_t seed = 1);

// model.layers.{i}.ahn.fn.* of a published GatedDeltaNet.
std::vector<TensorToWrite> AhnTensors(const ModelConfig& base, uint64_t seed = 1);

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_MODULE_TENSORS_H_
