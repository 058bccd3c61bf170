#include "engine/memory/retention.h"

#include <utility>

#include "engine/kernels/elementwise.h"

namespace memgate {
namespace {

class RetentionKind : public MemoryKind {
 public:
  RetentionKind(const ModelConfig& config, RetentionWeights weights)
      : hidden_size_(config.hidden_size), num_kv_heads_(config.num_kv_heads), weights_(std::move(weights)) {}

  std::string_view name() const override { return "memgate"; }
  bool HasRetention() const override { return true; }
  int TokenFeatures() const override { return num_kv_heads_; }

  void ComputeFeatures(int layer, const float* layer_input, int tokens, float* features) const override {
    const float* weight = weights_.weight.data() + int64_t{layer} * num_kv_heads_ * hidden_size_;
    const float* bias = weights_.bias.data() + layer * num_kv_heads_;
    for (int t = 0; t < tokens; ++t) {
      const float* h = layer_input + int64_t{t} * hidden_size_;
      for (int g = 0; g < num_kv_heads_; ++g) {
        features[t * num_kv_heads_ + g] = Dot(h, weight + g * hidden_size_, hidden_size_) + bias[g];
      }
    }
  }

 private:
  const int hidden_size_;
  const int num_kv_heads_;
  const RetentionWeights weights_;
};

}  // namespace

std::unique_ptr<MemoryKind> MakeRetentionKind(const ModelConfig& config, RetentionWeights weights) {
  return std::make_unique<RetentionKind>(config, std::move(weights));
}

}  // namespace memgate
