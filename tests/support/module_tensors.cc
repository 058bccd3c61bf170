#include "tests/support/module_tensors.h"

#include <random>
#include <string>
#include <utility>

namespace memgate {
namespace {

// Collects tensors of uniform values in [-1, 1).
class RandomTensors {
 public:
  explicit RandomTensors(uint64_t seed) : random_(seed) {}

  void Add(std::string name, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    std::vector<float> values(count);
    for (float& x : values) x = static_cast<float>(static_cast<double>(random_() >> 11) * 0x1p-52 - 1.0);
    tensors_.push_back(F32Tensor(std::move(name), std::move(shape), values));
  }
  std::vector<TensorToWrite> Take() { return std::move(tensors_); }

 private:
  std::mt19937_64 random_;
  std::vector<TensorToWrite> tensors_;
};

}  // namespace

std::vector<TensorToWrite> MemgateMatrixTensors(const ModelConfig& base, uint64_t seed) {
  const int64_t c = base.hidden_size, g = base.num_kv_heads, h = base.num_heads, d = base.head_dim;
  RandomTensors tensors(seed);
  for (int l = 0; l < base.num_layers; ++l) {
    const std::string layer = "layers." + std::to_string(l) + ".";
    tensors.Add(layer + "retention.weight", {g, c});
    tensors.Add(layer + "retention.bias", {g});
    tensors.Add(layer + "matrix.write_weight", {g, c});
    tensors.Add(layer + "matrix.write_bias", {g});
    tensors.Add(layer + "matrix.decay", {g});
    tensors.Add(layer + "matrix.key_scale", {g, d});
    tensors.Add(layer + "matrix.key_shift", {g, d});
    tensors.Add(layer + "matrix.query_scale", {h, d});
    tensors.Add(layer + "matrix.query_shift", {h, d});
    tensors.Add(layer + "matrix.gain", {h});
  }
  return tensors.Take();
}

std::vector<TensorToWrite> EdgeInfiniteTensors(const ModelConfig& base, int inner, uint64_t seed) {
  RandomTensors tensors(seed);
  for (int l = 0; l < base.num_layers; ++l) {
    const std::string layer = "layers." + std::to_string(l) + ".edgeinfinite.";
    tensors.Add(layer + "w1", {base.num_heads, inner, base.head_dim});
    tensors.Add(layer + "w2", {base.num_heads, base.head_dim, inner});
    tensors.Add(layer + "gate", {base.num_heads});
  }
  return tensors.Take();
}

std::vector<TensorToWrite> AhnTensors(const ModelConfig& base, uint64_t seed) {
  const int64_t c = base.hidden_size, h = base.num_heads, d = base.head_dim;
  RandomTensors tensors(seed);
  for (int l = 0; l < base.num_layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".ahn.fn.";
    for (const char* name : {"b_proj.weight", "a_proj.weight", "g_proj.weight"})
      tensors.Add(layer + name, {h, c});
    for (const char* name : {"A_log", "dt_bias", "D"}) tensors.Add(layer + name, {h});
    tensors.Add(layer + "o_norm.weight", {d});
    tensors.Add(layer + "o_proj.weight", {h, d, d});
  }
  return tensors.Take();
}

}  // namespace memgate
