#include "engine/memory/infini.h"

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

constexpr float kLengthEpsilon = 1e-6f;   // keeps the length of features of zero away from zero
constexpr int64_t kMaxFeatureFactor = 8;  // K / D; bounds what a file can make a session cost

// scale and shift of one head, [K] each; null for the paper's map.
struct HeadMap {
  const float* scale = nullptr;
  const float* shift = nullptr;
};

void DivideByLength(float* phi, int features) {
  const float inverse = 1.0f / std::max(std::sqrt(Dot(phi, phi, features)), kLengthEpsilon);
  for (int k = 0; k < features; ++k) phi[k] *= inverse;
}

class InfiniKind : public MemoryKind {
 public:
  InfiniKind(const ModelConfig& config, InfiniRule rule, std::optional<std::vector<float>> gates,
             std::optional<InfiniMaps> maps)
      : MemoryKind(rule == InfiniRule::kLinear ? "infini" : "infini-delta"),
        num_heads_(config.num_heads),
        num_kv_heads_(config.num_kv_heads),
        head_dim_(config.head_dim),
        shape_{maps ? maps->features : head_dim_, head_dim_},
        rule_(rule),
        trained_(gates.has_value()),
        gates_(config.num_layers * config.num_heads, kUntrainedInfiniGate),
        maps_(std::move(maps)) {
    if (gates) gates_ = *std::move(gates);
    for (float& gate : gates_) gate = Sigmoid(gate);
  }

  bool trained() const override { return trained_; }
  int64_t StateFloats() const override { return num_kv_heads_ * HeadFloats(); }

  std::vector<float> Gates(int layer) const override {
    const auto first = gates_.begin() + int64_t{layer} * num_heads_;
    return {first, first + num_heads_};
  }

  void Write(int layer, const EvictedTokens& evicted, absl::Span<float> state) const override {
    float* memory = state.data() + evicted.kv_head * HeadFloats();
    std::vector<float> phi(int64_t{evicted.tokens} * shape_.features);
    FeatureMap(KeyMap(layer, evicted.kv_head), evicted.keys, head_dim_, evicted.tokens, phi.data());
    switch (rule_) {
      case InfiniRule::kLinear:
        AddNormalised(shape_, evicted.tokens, phi.data(), evicted.values, memory);
        return;
      case InfiniRule::kDelta: {
        std::vector<float> update(int64_t{evicted.tokens} * head_dim_);
        RecallNormalised(memory, shape_, evicted.tokens, phi.data(), update.data());
        for (size_t i = 0; i < update.size(); ++i) update[i] = evicted.values[i] - update[i];
        AddNormalised(shape_, evicted.tokens, phi.data(), update.data(), memory);
        return;
      }
      case InfiniRule::kUnitDelta:
        WriteDeltas({.tokens = evicted.tokens,
                     .features = {phi.data(), shape_.features},
                     .values = {evicted.values, head_dim_}},
                    shape_, memory);
        return;
    }
  }

  // attention = g A_mem + (1 - g) A_local, g = sigmoid(beta) per query head (equation 6).
  void Combine(int layer, const MemoryQuery& query, absl::Span<const float> state,
               float* attention) const override {
    const int dim = head_dim_;
    const int64_t operations = int64_t{shape_.features} * dim;
    ForEachHeadSlice(num_heads_, query.tokens, operations, [&](int head, int first, int count) {
      std::vector<float> phi(int64_t{count} * shape_.features);
      std::vector<float> recalled(int64_t{count} * dim);
      FeatureMap(QueryMap(layer, head), query.queries + first * query.query_stride + int64_t{head} * dim,
                 query.query_stride, count, phi.data());
      const float* memory = state.data() + head / (num_heads_ / num_kv_heads_) * HeadFloats();
      if (rule_ == InfiniRule::kUnitDelta) {
        ReadMatrix(memory, shape_, count, {phi.data(), shape_.features}, recalled.data(), dim);
      } else {
        RecallNormalised(memory, shape_, count, phi.data(), recalled.data());
      }
      const float gate = gates_[int64_t{layer} * num_heads_ + head];
      for (int t = 0; t < count; ++t) {
        float* out = attention + (int64_t{first + t} * num_heads_ + head) * dim;
        for (int d = 0; d < dim; ++d) out[d] = gate * recalled[t * dim + d] + (1.0f - gate) * out[d];
      }
    });
  }

 private:
  // M [K, D], and z [K] where there is one.
  int64_t HeadFloats() const {
    if (rule_ == InfiniRule::kUnitDelta) return int64_t{shape_.features} * shape_.columns;
    return NormalisedMemoryFloats(shape_);
  }
  HeadMap KeyMap(int layer, int head) const {
    const int64_t at = (int64_t{layer} * num_kv_heads_ + head) * shape_.features;
    return maps_ ? HeadMap{&maps_->key_scale[at], &maps_->key_shift[at]} : HeadMap{};
  }
  HeadMap QueryMap(int layer, int head) const {
    const int64_t at = (int64_t{layer} * num_heads_ + head) * shape_.features;
    return maps_ ? HeadMap{&maps_->query_scale[at], &maps_->query_shift[at]} : HeadMap{};
  }

  // phi(x_t), x_t [D] at x + t * stride. phi: [tokens, K].
  void FeatureMap(const HeadMap& map, const float* x, int64_t stride, int tokens, float* phi) const {
    for (int t = 0; t < tokens; ++t, x += stride, phi += shape_.features) {
      for (int first = 0; first < shape_.features; first += head_dim_) {
        for (int d = 0; d < head_dim_; ++d) {
          phi[first + d] = map.scale == nullptr ? x[d] : map.scale[first + d] * x[d] + map.shift[first + d];
        }
      }
      EluPlusOne(phi, shape_.features, phi);
      if (rule_ == InfiniRule::kUnitDelta) DivideByLength(phi, shape_.features);
    }
  }

  const int num_heads_;
  const int num_kv_heads_;
  const int head_dim_;
  const MatrixShape shape_;  // K, D
  const InfiniRule rule_;
  const bool trained_;
  std::vector<float> gates_;  // [L, H], after the sigmoid
  const std::optional<InfiniMaps> maps_;
};

absl::StatusOr<InfiniRule> ReadRule(const MemoryModuleConfig& config) {
  const std::string_view normaliser = config.Option("normaliser", "sum");
  const bool delta = config.kind == "infini-delta";
  if (normaliser == "sum") return delta ? InfiniRule::kDelta : InfiniRule::kLinear;
  if (normaliser == "length" && delta) return InfiniRule::kUnitDelta;
  return absl::InvalidArgumentError(Concat("'normaliser' is '", normaliser, "'; kind '", config.kind,
                                           "' knows ", delta ? "sum, length" : "sum"));
}

// K, as the first layer's tensor has it.
absl::StatusOr<int64_t> Features(const LayerTensors& source, const ModelConfig& base) {
  const auto scale = source.tensors.Find(source.Name(0, "infini.key_scale"));
  if (!scale.ok()) return scale.status();
  const int64_t features = scale->shape.size() == 2 ? scale->shape[1] : 0;
  if (features > 0 && features % base.head_dim == 0 && features / base.head_dim <= kMaxFeatureFactor) {
    return features;
  }
  return absl::InvalidArgumentError(Concat(source.tensors.Describe(scale->name),
                                           " must have shape [G, K], K a multiple of ", base.head_dim,
                                           " up to ", kMaxFeatureFactor * base.head_dim));
}

}  // namespace

std::unique_ptr<MemoryKind> MakeInfiniKind(const ModelConfig& config, InfiniRule rule,
                                           std::optional<std::vector<float>> gates,
                                           std::optional<InfiniMaps> maps) {
  return std::make_unique<InfiniKind>(config, rule, std::move(gates), std::move(maps));
}

absl::StatusOr<MemoryKinds> LoadInfini(const ModuleContents& module) {
  const auto rule = ReadRule(module.config);
  if (!rule.ok()) return rule.status();
  const ModelConfig& base = module.base;
  const LayerTensors source{module.tensors, base.num_layers};
  LayerReader reader(source);
  std::vector<float> gates = reader.Read("infini.beta", {base.num_heads});
  std::optional<InfiniMaps> maps;
  if (source.HasAny("infini.key_") || source.HasAny("infini.query_")) {
    const auto features = Features(source, base);
    if (!features.ok()) return features.status();
    maps.emplace(InfiniMaps{.features = static_cast<int>(*features)});
    maps->key_scale = reader.Read("infini.key_scale", {base.num_kv_heads, *features});
    maps->key_shift = reader.Read("infini.key_shift", {base.num_kv_heads, *features});
    maps->query_scale = reader.Read("infini.query_scale", {base.num_heads, *features});
    maps->query_shift = reader.Read("infini.query_shift", {base.num_heads, *features});
  }
  if (!reader.status().ok()) return reader.status();
  MemoryKinds kinds;
  kinds.push_back(MakeInfiniKind(base, *rule, std::move(gates), std::move(maps)));
  return kinds;
}

}  // namespace memgate
