#include "engine/memory/self_recall.h"

#include <string_view>
#include <vector>

#include "engine/kernels/elementwise.h"
#include "engine/kernels/memory_matrix.h"
#include "engine/memory/signed_map.h"

namespace memgate {
namespace {

// Of a full write, as in DeltaNet, M would keep the latest token of each kind; a small one gives it the mean
// of many. Demo model, 32 facts, of 64 answers in logs of 4,000 (192 slots) and 20,000 tokens (764): 30 at 1/10, 21 at 1.
constexpr float kWriteStrength = 0.1f;

class SelfRecallKind : public MemoryKind {
 public:
  explicit SelfRecallKind(const ModelConfig& config)
      : MemoryKind("memgate-untrained"),
        num_kv_heads_(config.num_kv_heads),
        head_dim_(config.head_dim),
        ones_(config.head_dim, 1.0f),
        zeros_(config.head_dim, 0.0f) {}

  bool trained() const override { return false; }
  bool HasRetention() const override { return true; }
  int TokenFeatures() const override { return 1; }  // score, once the token leaves
  int64_t StateFloats() const override { return num_kv_heads_ * HeadFloats(); }
  bool Recalls() const override { return false; }

  void CompleteFeatures(int /*layer*/, const EvictedTokens& leaving, absl::Span<const float> state,
                        float* features) const override {
    const int64_t dim = head_dim_;
    const std::vector<float> phi = KeyFeatures(leaving);
    std::vector<float> error(leaving.tokens * dim);
    ReadMatrix(state.data() + leaving.kv_head * HeadFloats(), {2 * head_dim_, head_dim_}, leaving.tokens,
               {phi.data(), 2 * dim}, error.data(), dim);
    for (int t = 0; t < leaving.tokens; ++t) {
      float* row = &error[t * dim];
      ScaledAdd(-1.0f, leaving.values + t * dim, head_dim_, row);
      features[t] = Dot(row, row, head_dim_);
    }
  }

  void Write(int /*layer*/, const EvictedTokens& evicted, absl::Span<float> state) const override {
    const std::vector<float> phi = KeyFeatures(evicted);
    const std::vector<float> strengths(evicted.tokens, kWriteStrength);
    WriteDeltas({.tokens = evicted.tokens,
                 .features = {phi.data(), 2 * head_dim_},
                 .values = {evicted.values, head_dim_},
                 .strengths = strengths.data()},
                {2 * head_dim_, head_dim_}, state.data() + evicted.kv_head * HeadFloats());
  }

 private:
  int64_t HeadFloats() const { return int64_t{2} * head_dim_ * head_dim_; }  // M: [2D, D]

  // [tokens, 2D]
  std::vector<float> KeyFeatures(const EvictedTokens& tokens) const {
    const int64_t dim = head_dim_;
    std::vector<float> phi(tokens.tokens * 2 * dim);
    for (int t = 0; t < tokens.tokens; ++t) {
      SignedMap(tokens.keys + t * dim, ones_.data(), zeros_.data(), head_dim_, &phi[t * 2 * dim]);
    }
    return phi;
  }

  const int num_kv_heads_;
  const int head_dim_;
  const std::vector<float> ones_, zeros_;  // [D], the map of untrained keys
};

}  // namespace

std::unique_ptr<MemoryKind> MakeSelfRecallKind(const ModelConfig& config) {
  return std::make_unique<SelfRecallKind>(config);
}

}  // namespace memgate
