#include "engine/memory/edgeinfinite.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/strings.h"
#include "engine/kernels/elementwise.h"
#include "engine/kernels/memory_matrix.h"
#include "engine/memory/head_slices.h"
#include "engine/memory/normalised_memory.h"

namespace memgate {
namespace {

constexpr int64_t kMaxInner = 4096;  // I; keeps one head's product within reason whatever a file says

// Every [rows, columns] matrix of `matrices` as [columns, rows].
std::vector<float> Transposed(const std::vector<float>& matrices, int64_t rows, int64_t columns) {
  std::vector<float> out(matrices.size());
  for (size_t first = 0; first < matrices.size(); first += static_cast<size_t>(rows * columns)) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) out[first + c * rows + r] = matrices[first + r * columns + c];
    }
  }
  return out;
}

class EdgeInfiniteKind : public MemoryKind {
 public:
  EdgeInfiniteKind(const ModelConfig& config, EdgeInfiniteWeights weights)
      : MemoryKind("edgeinfinite"),
        num_heads_(config.num_heads),
        num_kv_heads_(config.num_kv_heads),
        head_dim_(config.head_dim),
        inner_(weights.inner),
        w1_(Transposed(weights.w1, inner_, head_dim_)),
        w2_(Transposed(weights.w2, head_dim_, inner_)),
        gates_(std::move(weights.gate)) {
    for (float& gate : gates_) gate = Sigmoid(gate);
  }

  int64_t StateFloats() const override {
    return num_kv_heads_ * NormalisedMemoryFloats({head_dim_, head_dim_});
  }

  std::vector<float> Gates(int layer) const override {
    const auto first = gates_.begin() + int64_t{layer} * num_heads_;
    return {first, first + num_heads_};
  }

  void Write(int /*layer*/, const EvictedTokens& evicted, absl::Span<float> state) const override {
    const int dim = head_dim_;
    std::vector<float> phi(int64_t{evicted.tokens} * dim);
    std::vector<float> angles(dim);
    for (int t = 0; t < evicted.tokens; ++t) {
      evicted.rope->Angles(evicted.positions[t], angles.data());
      Rotate(angles.data(), dim, evicted.keys + int64_t{t} * dim, &phi[int64_t{t} * dim]);
    }
    EluPlusOne(phi.data(), static_cast<int64_t>(phi.size()), phi.data());
    AddNormalised({dim, dim}, evicted.tokens, phi.data(), evicted.values,
                  state.data() + evicted.kv_head * NormalisedMemoryFloats({dim, dim}));
  }

  void Combine(int layer, const MemoryQuery& query, absl::Span<const float> state,
               float* attention) const override {
    const int dim = head_dim_;
    const int64_t operations = int64_t{dim} * (dim + 2 * inner_);
    ForEachHeadSlice(num_heads_, query.tokens, operations, [&](int head, int first, int count) {
      const int64_t row = int64_t{layer} * num_heads_ + head;
      const int kv_head = head / (num_heads_ / num_kv_heads_);
      std::vector<float> phi(int64_t{count} * dim);
      std::vector<float> recalled(int64_t{count} * dim);
      std::vector<float> hidden(int64_t{count} * inner_);
      for (int t = 0; t < count; ++t) {
        Rotate(query.angles + int64_t{first + t} * dim, dim,
               query.queries + (first + t) * query.query_stride + int64_t{head} * dim,
               &phi[int64_t{t} * dim]);
      }
      EluPlusOne(phi.data(), static_cast<int64_t>(phi.size()), phi.data());
      RecallNormalised(state.data() + kv_head * NormalisedMemoryFloats({dim, dim}), {dim, dim}, count,
                       phi.data(), recalled.data());
      ReadMatrix(&w1_[row * dim * inner_], {dim, inner_}, count, {recalled.data(), dim}, hidden.data(),
                 inner_);
      for (float& x : hidden) x = std::max(x, 0.0f);
      ReadMatrix(&w2_[row * dim * inner_], {inner_, dim}, count, {hidden.data(), inner_}, recalled.data(),
                 dim);
      for (int t = 0; t < count; ++t) {
        ScaledAdd(gates_[row], &recalled[int64_t{t} * dim], dim,
                  attention + (int64_t{first + t} * num_heads_ + head) * dim);
      }
    });
  }

 private:
  const int num_heads_;
  const int num_kv_heads_;
  const int head_dim_;
  const int inner_;
  const std::vector<float> w1_;  // [L, H, D, I]
  const std::vector<float> w2_;  // [L, H, I, D]
  std::vector<float> gates_;     // [L, H], after the sigmoid
};

// The I that the first layer's tensor has.
absl::StatusOr<int64_t> InnerWidth(const LayerTensors& source) {
  const auto w1 = source.tensors.Find(source.Name(0, "edgeinfinite.w1"));
  if (!w1.ok()) return w1.status();
  if (w1->shape.size() == 3 && w1->shape[1] >= 1 && w1->shape[1] <= kMaxInner) return w1->shape[1];
  return absl::InvalidArgumentError(
      Concat(source.tensors.Describe(w1->name), " must have shape [H, I, D] with I in [1, ", kMaxInner, "]"));
}

}  // namespace

std::unique_ptr<MemoryKind> MakeEdgeInfiniteKind(const ModelConfig& config, EdgeInfiniteWeights weights) {
  return std::make_unique<EdgeInfiniteKind>(config, std::move(weights));
}

absl::StatusOr<MemoryKinds> LoadEdgeInfinite(const ModuleContents& module) {
  const ModelConfig& base = module.base;
  const LayerTensors source{module.tensors, base.num_layers};
  const auto inner = InnerWidth(source);
  if (!inner.ok()) return inner.status();
  LayerReader reader(source);
  EdgeInfiniteWeights weights{.inner = static_cast<int>(*inner)};
  weights.w1 = reader.Read("edgeinfinite.w1", {base.num_heads, *inner, base.head_dim});
  weights.w2 = reader.Read("edgeinfinite.w2", {base.num_heads, base.head_dim, *inner});
  weights.gate = reader.Read("edgeinfinite.gate", {base.num_heads});
  if (!reader.status().ok()) return reader.status();
  MemoryKinds kinds;
  kinds.push_back(MakeEdgeInfiniteKind(base, std::move(weights)));
  return kinds;
}

}  // namespace memgate
