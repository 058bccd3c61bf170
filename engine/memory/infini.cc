#include "engine/memory/infini.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/kernels/elementwise.h"
#include "engine/kernels/parallel.h"

namespace memgate {
namespace {

// Keeps phi(k) z away from zero; phi is positive, so only an empty memory comes near it.
constexpr float kEpsilon = 1e-6f;

// phi(x) = ELU(x) + 1 (arXiv 2006.16236), elementwise over [n].
void FeatureMap(const float* x, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = x[i] > 0 ? x[i] + 1.0f : std::exp(x[i]);
}

// One KV head's state: M [D, D], row d belongs to feature d; then z [D].
struct HeadView {
  const float* matrix;
  const float* normaliser;
};

// out = phi M / (phi z + eps), [D].
void Recall(const HeadView& head, const float* phi, int head_dim, float* out) {
  std::fill(out, out + head_dim, 0.0f);
  for (int d = 0; d < head_dim; ++d) ScaledAdd(phi[d], head.matrix + d * head_dim, head_dim, out);
  const float inverse = 1.0f / (Dot(phi, head.normaliser, head_dim) + kEpsilon);
  for (int i = 0; i < head_dim; ++i) out[i] *= inverse;
}

class InfiniKind : public MemoryKind {
 public:
  InfiniKind(const ModelConfig& config, InfiniRule rule, std::optional<std::vector<float>> gates)
      : num_heads_(config.num_heads),
        num_kv_heads_(config.num_kv_heads),
        head_dim_(config.head_dim),
        rule_(rule),
        trained_(gates.has_value()),
        gates_(config.num_layers * config.num_heads, kUntrainedInfiniGate) {
    if (gates) gates_ = *std::move(gates);
    for (float& gate : gates_) gate = 1.0f / (1.0f + std::exp(-gate));
  }

  std::string_view name() const override { return rule_ == InfiniRule::kLinear ? "infini" : "infini-delta"; }
  bool trained() const override { return trained_; }
  int64_t StateFloats() const override { return int64_t{num_kv_heads_} * HeadFloats(); }

  // The whole segment recalls the memory as it was before the segment, as in the paper.
  void Write(int /*layer*/, const EvictedTokens& evicted, absl::Span<float> state) const override {
    float* matrix = state.data() + evicted.kv_head * HeadFloats();
    float* normaliser = matrix + head_dim_ * head_dim_;
    const size_t size = static_cast<size_t>(evicted.tokens) * head_dim_;
    std::vector<float> phi(size);
    std::vector<float> update(evicted.values, evicted.values + size);
    FeatureMap(evicted.keys, static_cast<int>(size), phi.data());
    if (rule_ == InfiniRule::kDelta) {
      std::vector<float> recalled(head_dim_);
      for (int t = 0; t < evicted.tokens; ++t) {
        Recall({matrix, normaliser}, &phi[t * head_dim_], head_dim_, recalled.data());
        ScaledAdd(-1.0f, recalled.data(), head_dim_, &update[t * head_dim_]);
      }
    }
    for (int t = 0; t < evicted.tokens; ++t) {
      const float* phi_t = &phi[t * head_dim_];
      for (int d = 0; d < head_dim_; ++d) {
        ScaledAdd(phi_t[d], &update[t * head_dim_], head_dim_, matrix + d * head_dim_);
      }
      AddInPlace(phi_t, head_dim_, normaliser);
    }
  }

  // attention = g A_mem + (1 - g) A_local, g = sigmoid(beta) per query head (equation 6).
  void Combine(int layer, const MemoryQuery& query, absl::Span<const float> state,
               float* attention) const override {
    const int group = num_heads_ / num_kv_heads_;
    ParallelFor(int64_t{query.tokens} * num_heads_, LeastItems(int64_t{head_dim_} * head_dim_),
                [&](int64_t begin, int64_t end, int) {
                  std::vector<float> phi(head_dim_);
                  std::vector<float> recalled(head_dim_);
                  for (int64_t i = begin; i < end; ++i) {
                    const int head = static_cast<int>(i % num_heads_);
                    const float* matrix = state.data() + (head / group) * HeadFloats();
                    const float* q = query.queries + (i / num_heads_) * query.query_stride + head * head_dim_;
                    FeatureMap(q, head_dim_, phi.data());
                    Recall({matrix, matrix + head_dim_ * head_dim_}, phi.data(), head_dim_, recalled.data());
                    const float gate = gates_[layer * num_heads_ + head];
                    float* out = attention + i * head_dim_;
                    for (int d = 0; d < head_dim_; ++d) out[d] = gate * recalled[d] + (1.0f - gate) * out[d];
                  }
                });
  }

 private:
  int64_t HeadFloats() const { return int64_t{head_dim_} * (head_dim_ + 1); }

  const int num_heads_;
  const int num_kv_heads_;
  const int head_dim_;
  const InfiniRule rule_;
  const bool trained_;
  std::vector<float> gates_;  // [L, H], after the sigmoid
};

}  // namespace

std::unique_ptr<MemoryKind> MakeInfiniKind(const ModelConfig& config, InfiniRule rule,
                                           std::optional<std::vector<float>> gates) {
  return std::make_unique<InfiniKind>(config, rule, std::move(gates));
}

}  // namespace memgate
