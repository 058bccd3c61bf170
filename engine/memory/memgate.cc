#include "engine/memory/memgate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "engine/kernels/elementwise.h"
#include "engine/kernels/memory_matrix.h"
#include "engine/memory/head_slices.h"
#include "engine/memory/signed_map.h"

namespace memgate {
namespace {

class MemgateKind : public MemoryKind {
 public:
  // The variants of a module share its retention weights.
  MemgateKind(const ModelConfig& config, std::shared_ptr<const RetentionWeights> retention,
              std::optional<MatrixWeights> matrix, std::string_view name)
      : MemoryKind(name),
        hidden_size_(config.hidden_size),
        num_heads_(config.num_heads),
        num_kv_heads_(config.num_kv_heads),
        head_dim_(config.head_dim),
        retention_(std::move(retention)),
        matrix_(std::move(matrix)) {}

  bool HasRetention() const override { return true; }
  int64_t StateFloats() const override { return matrix_ ? num_kv_heads_ * HeadFloats() : 0; }
  int TokenFeatures() const override { return matrix_ ? 2 : 1; }  // score; write strength

  void ComputeFeatures(int layer, const float* layer_input, int tokens, float* features) const override {
    const int count = TokenFeatures();
    for (int t = 0; t < tokens; ++t) {
      const float* h = layer_input + int64_t{t} * hidden_size_;
      for (int g = 0; g < num_kv_heads_; ++g, features += count) {
        const int64_t head = int64_t{layer} * num_kv_heads_ + g;
        features[0] = Dot(h, &retention_->weight[head * hidden_size_], hidden_size_) + retention_->bias[head];
        if (!matrix_) continue;
        const float logit =
            Dot(h, &matrix_->write_weight[head * hidden_size_], hidden_size_) + matrix_->write_bias[head];
        features[1] = Sigmoid(logit);
      }
    }
  }

  std::vector<float> Gates(int layer) const override {
    if (!matrix_) return {};
    const float* gain = &matrix_->gain[int64_t{layer} * num_heads_];
    return {gain, gain + num_heads_};
  }

  void Write(int layer, const EvictedTokens& evicted, absl::Span<float> state) const override {
    const int dim = head_dim_;
    const int64_t head = int64_t{layer} * num_kv_heads_ + evicted.kv_head;
    // Finite, so that a token of write strength 0 decays nothing whatever the module says.
    const float rate = std::min(std::exp(matrix_->decay[head]), std::numeric_limits<float>::max());
    std::vector<float> phi(int64_t{evicted.tokens} * 2 * dim);
    std::vector<float> strengths(evicted.tokens);
    std::vector<float> decays(evicted.tokens);
    for (int t = 0; t < evicted.tokens; ++t) {
      SignedMap(evicted.keys + int64_t{t} * dim, &matrix_->key_scale[head * dim],
                &matrix_->key_shift[head * dim], dim, &phi[int64_t{t} * 2 * dim]);
      strengths[t] = evicted.features[t * TokenFeatures() + 1];
      decays[t] = std::exp(-rate * strengths[t]);
    }
    WriteDeltas({.tokens = evicted.tokens,
                 .features = {phi.data(), 2 * dim},
                 .values = {evicted.values, dim},
                 .decays = decays.data(),
                 .strengths = strengths.data()},
                {2 * dim, dim}, state.data() + evicted.kv_head * HeadFloats());
  }

  void Combine(int layer, const MemoryQuery& query, absl::Span<const float> state,
               float* attention) const override {
    const int dim = head_dim_;
    ForEachHeadSlice(num_heads_, query.tokens, HeadFloats(), [&](int head, int first, int count) {
      const int64_t row = int64_t{layer} * num_heads_ + head;
      std::vector<float> phi(int64_t{count} * 2 * dim);
      std::vector<float> recalled(int64_t{count} * dim);
      for (int t = 0; t < count; ++t) {
        SignedMap(query.queries + (first + t) * query.query_stride + int64_t{head} * dim,
                  &matrix_->query_scale[row * dim], &matrix_->query_shift[row * dim], dim,
                  &phi[int64_t{t} * 2 * dim]);
      }
      const int kv_head = head / (num_heads_ / num_kv_heads_);
      ReadMatrix(state.data() + kv_head * HeadFloats(), {2 * dim, dim}, count, {phi.data(), 2 * dim},
                 recalled.data(), dim);
      for (int t = 0; t < count; ++t) {
        ScaledAdd(matrix_->gain[row], &recalled[int64_t{t} * dim], dim,
                  attention + (int64_t{first + t} * num_heads_ + head) * dim);
      }
    });
  }

 private:
  int64_t HeadFloats() const { return int64_t{2} * head_dim_ * head_dim_; }  // M: [2D, D]

  const int hidden_size_;
  const int num_heads_;
  const int num_kv_heads_;
  const int head_dim_;
  const std::shared_ptr<const RetentionWeights> retention_;
  const std::optional<MatrixWeights> matrix_;
};

}  // namespace

std::unique_ptr<MemoryKind> MakeMemgateKind(const ModelConfig& config, RetentionWeights retention,
                                            std::optional<MatrixWeights> matrix, std::string_view name) {
  return std::make_unique<MemgateKind>(config, std::make_shared<RetentionWeights>(std::move(retention)),
                                       std::move(matrix), name);
}

absl::StatusOr<MemoryKinds> LoadMemgate(const ModuleContents& module) {
  const ModelConfig& base = module.base;
  const int64_t c = base.hidden_size, g = base.num_kv_heads, h = base.num_heads, d = base.head_dim;
  LayerReader reader({module.tensors, base.num_layers});
  RetentionWeights retention;
  retention.weight = reader.Read("retention.weight", {g, c});
  retention.bias = reader.Read("retention.bias", {g});
  std::optional<MatrixWeights> matrix;
  if (reader.HasAny("matrix.")) {
    matrix.emplace();
    matrix->write_weight = reader.Read("matrix.write_weight", {g, c});
    matrix->write_bias = reader.Read("matrix.write_bias", {g});
    matrix->decay = reader.Read("matrix.decay", {g});
    matrix->key_scale = reader.Read("matrix.key_scale", {g, d});
    matrix->key_shift = reader.Read("matrix.key_shift", {g, d});
    matrix->query_scale = reader.Read("matrix.query_scale", {h, d});
    matrix->query_shift = reader.Read("matrix.query_shift", {h, d});
    matrix->gain = reader.Read("matrix.gain", {h});
  }
  if (!reader.status().ok()) return reader.status();
  const auto shared = std::make_shared<const RetentionWeights>(std::move(retention));
  const bool compresses = matrix.has_value();
  MemoryKinds kinds;
  kinds.push_back(std::make_unique<MemgateKind>(base, shared, std::move(matrix), "memgate"));
  if (compresses) {
    kinds.push_back(std::make_unique<MemgateKind>(base, shared, std::nullopt, "memgate-slots"));
  }
  return kinds;
}

}  // namespace memgate
