#include "engine/memory/ahn.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/base/strings.h"
#include "engine/checkpoint/config_reader.h"
#include "engine/checkpoint/json_util.h"
#include "engine/kernels/elementwise.h"
#include "engine/kernels/memory_matrix.h"
#include "engine/memory/head_slices.h"

namespace memgate {
namespace {

constexpr float kOutputNormEpsilon = 1e-5f;  // the published modules' own, whatever the base's is
constexpr float kUnitEpsilon = 1e-6f;        // under the root of a length
constexpr int64_t kMaxTokens = int64_t{1} << 20;
// Keys of a published config.json that decide which tensors there are; MemoryModuleConfig::options has them
// too.
constexpr char kImplementation[] = "_ahn_implementation";
constexpr char kUseQProj[] = "use_q_proj";
constexpr char kUseRouter[] = "use_ahn_router";
constexpr std::string_view kRuleInfix = ".ahn.fn.";
constexpr std::string_view kRouterInfix = ".ahn_router.";
constexpr char kTrue[] = "true";
constexpr char kFalse[] = "false";

float Softplus(float x) { return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))); }

// x *= factor / |x|, [n].
void Normalise(float* x, int n, float factor) {
  const float scale = factor / std::sqrt(Dot(x, x, n) + kUnitEpsilon);
  for (int i = 0; i < n; ++i) x[i] *= scale;
}

class AhnKind : public MemoryKind {
 public:
  AhnKind(const ModelConfig& config, AhnWeights weights)
      : MemoryKind("ahn"),
        hidden_size_(config.hidden_size),
        num_heads_(config.num_heads),
        group_(config.group_size()),
        head_dim_(config.head_dim),
        decays_(weights.rule == AhnRule::kGatedDeltaNet),
        weights_(std::move(weights)) {}

  int64_t StateFloats() const override { return num_heads_ * HeadFloats(); }
  bool ClampsFarTokens() const override { return false; }

  // Per query head of the group the write strength, then per query head the decay if there is one.
  int TokenFeatures() const override { return decays_ ? 2 * group_ : group_; }

  void ComputeFeatures(int layer, const float* layer_input, int tokens, float* features) const override {
    for (int t = 0; t < tokens; ++t, layer_input += hidden_size_) {
      for (int head = 0; head < num_heads_; head += group_, features += TokenFeatures()) {
        for (int r = 0; r < group_; ++r) {
          const int64_t row = int64_t{layer} * num_heads_ + head + r;
          features[r] = Sigmoid(Project(weights_.b_proj, row, layer_input));
          if (decays_) features[group_ + r] = Decay(row, layer_input);
        }
      }
    }
  }

  void Write(int /*layer*/, const EvictedTokens& evicted, absl::Span<float> state) const override {
    const int dim = head_dim_;
    std::vector<float> keys(int64_t{evicted.tokens} * dim);
    std::vector<float> angles(dim);
    for (int t = 0; t < evicted.tokens; ++t) {
      float* key = &keys[int64_t{t} * dim];
      evicted.rope->Angles(evicted.positions[t], angles.data());
      Rotate(angles.data(), dim, evicted.keys + int64_t{t} * dim, key);
      Normalise(key, dim, 1.0f);
    }
    std::vector<float> strengths(evicted.tokens);
    std::vector<float> decays(evicted.tokens);
    for (int r = 0; r < group_; ++r) {
      for (int t = 0; t < evicted.tokens; ++t) {
        const float* features = evicted.features + int64_t{t} * TokenFeatures();
        strengths[t] = features[r];
        decays[t] = decays_ ? features[group_ + r] : 1.0f;
      }
      WriteDeltas({.tokens = evicted.tokens,
                   .features = {keys.data(), dim},
                   .values = {evicted.values, dim},
                   .decays = decays.data(),
                   .strengths = strengths.data()},
                  {dim, dim}, state.data() + (evicted.kv_head * group_ + r) * HeadFloats());
    }
  }

  void Combine(int layer, const MemoryQuery& query, absl::Span<const float> state,
               float* attention) const override {
    const int dim = head_dim_;
    const int64_t operations = 3 * HeadFloats() + hidden_size_;
    ForEachHeadSlice(num_heads_, query.tokens, operations, [&](int head, int first, int count) {
      const int64_t row = int64_t{layer} * num_heads_ + head;
      std::vector<float> asked(int64_t{count} * dim);
      std::vector<float> read(int64_t{count} * dim);
      Ask(row, query, head, first, count, asked.data());
      ReadMatrix(state.data() + head * HeadFloats(), {dim, dim}, count, {asked.data(), dim}, read.data(),
                 dim);
      for (int t = 0; t < count; ++t) {
        float* out = &read[int64_t{t} * dim];
        RmsNorm(out, &weights_.o_norm[int64_t{layer} * dim], kOutputNormEpsilon, dim, out);
        const float gate =
            Project(weights_.g_proj, row, query.layer_input + int64_t{first + t} * hidden_size_);
        for (int d = 0; d < dim; ++d) out[d] *= gate * Sigmoid(gate);
      }
      ReadMatrix(&weights_.o_proj[row * HeadFloats()], {dim, dim}, count, {read.data(), dim}, asked.data(),
                 dim);
      const float share = Share(row, query.written);
      for (int t = 0; t < count; ++t) {
        ScaledAdd(share, &asked[int64_t{t} * dim], dim,
                  attention + (int64_t{first + t} * num_heads_ + head) * dim);
      }
    });
  }

 private:
  int64_t HeadFloats() const { return int64_t{head_dim_} * head_dim_; }

  float Project(const std::vector<float>& weight, int64_t row, const float* x) const {
    return Dot(x, &weight[row * hidden_size_], hidden_size_);
  }

  // In [0, 1], whatever the weights.
  float Decay(int64_t row, const float* x) const {
    const float rate = std::min(std::exp(weights_.a_log[row]), std::numeric_limits<float>::max());
    return std::exp(-rate * Softplus(Project(weights_.a_proj, row, x) + weights_.dt_bias[row]));
  }

  // Queries [count, D] as the memory sees them: mapped, rotated, of length 1 / sqrt(D).
  void Ask(int64_t row, const MemoryQuery& query, int head, int first, int count, float* asked) const {
    const int dim = head_dim_;
    const float* queries = query.queries + first * query.query_stride + int64_t{head} * dim;
    if (weights_.q_proj.empty()) {
      for (int t = 0; t < count; ++t)
        std::copy_n(queries + t * query.query_stride, dim, asked + int64_t{t} * dim);
    } else {
      ReadMatrix(&weights_.q_proj[row * HeadFloats()], {dim, dim}, count, {queries, query.query_stride},
                 asked, dim);
    }
    const float length = 1.0f / std::sqrt(static_cast<float>(dim));
    for (int t = 0; t < count; ++t, asked += dim) {
      Rotate(query.angles + int64_t{first + t} * dim, dim, asked, asked);
      Normalise(asked, dim, length);
    }
  }

  // What the router lets through of the memory once `written` tokens were absorbed.
  float Share(int64_t row, int64_t written) const {
    if (weights_.router_alpha.empty()) return 1.0f;
    const float filled = std::log(static_cast<float>(written) / weights_.sliding_window);
    return Sigmoid(weights_.router_alpha[row] * filled + weights_.router_beta[row]);
  }

  const int hidden_size_;
  const int num_heads_;
  const int group_;
  const int head_dim_;
  const bool decays_;
  const AhnWeights weights_;
};

absl::StatusOr<AhnRule> RuleNamed(std::string_view implementation) {
  if (implementation == "GatedDeltaNet") return AhnRule::kGatedDeltaNet;
  if (implementation == "DeltaNet") return AhnRule::kDeltaNet;
  return absl::UnimplementedError(
      Concat(kImplementation, ": '", implementation, "' is not supported; known: GatedDeltaNet, DeltaNet"));
}

absl::StatusOr<bool> Flag(const MemoryModuleConfig& config, const char* key) {
  const std::string_view value = config.Option(key, kFalse);
  if (value == kTrue || value == kFalse) return value == kTrue;
  return absl::InvalidArgumentError(Concat("'", key, "' is '", value, "'; it must be true or false"));
}

// The base's dimensions as the checkpoint's own config.json repeats them.
absl::Status CheckDimensions(ConfigReader& reader, const ModelConfig& base) {
  const std::pair<const char*, int64_t> dimensions[] = {{"num_hidden_layers", base.num_layers},
                                                        {"hidden_size", base.hidden_size},
                                                        {"num_attention_heads", base.num_heads},
                                                        {"num_key_value_heads", base.num_kv_heads}};
  for (const auto& [key, expected] : dimensions) {
    const int64_t found = reader.Int(key, expected, 1, kMaxTokens);
    if (found != expected) {
      return absl::FailedPreconditionError(
          Concat("the AHN module was made for ", key, " ", found, ", the model has ", expected));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<MemoryKind> MakeAhnKind(const ModelConfig& config, AhnWeights weights) {
  return std::make_unique<AhnKind>(config, std::move(weights));
}

bool IsPublishedAhnTensor(std::string_view name) {
  return name.find(kRuleInfix) != name.npos || name.find(kRouterInfix) != name.npos;
}

bool IsPublishedAhnConfig(std::string_view config_json) {
  const auto json = ParseJsonObject(config_json, kConfigLimits);
  if (!json.ok()) return false;
  const auto implementation = json->find(kImplementation);
  return implementation != json->end() && !implementation->is_null();
}

absl::StatusOr<MemoryModuleConfig> ParsePublishedAhnConfig(std::string_view config_json,
                                                           const ModelConfig& base) {
  const auto json = ParseJsonObject(config_json, kConfigLimits);
  if (!json.ok()) return json.status();
  ConfigReader reader(*json);
  MemoryModuleConfig config{.kind = "ahn",
                            .num_layers = base.num_layers,
                            .hidden_size = base.hidden_size,
                            .num_kv_heads = base.num_kv_heads,
                            .head_dim = base.head_dim,
                            .segment_tokens = 1};
  const std::string implementation = reader.String(kImplementation, "");
  if (const auto rule = RuleNamed(implementation); !rule.ok()) reader.Adopt(rule.status());
  if (const std::string layers = reader.String("fa_layer_ids", ""); !layers.empty()) {
    reader.FailUnsupported(
        "fa_layer_ids",
        Concat("layers ", layers, " would keep full attention, which grows with every token"));
  }
  const int64_t window = reader.RequiredInt("sliding_window", 2, kMaxTokens);
  config.window_tokens = static_cast<int32_t>(window - config.segment_tokens);
  config.sink_tokens = static_cast<int32_t>(reader.Int("num_attn_sinks", 0, 0, kMaxTokens));
  config.options[kUseQProj] = reader.Bool(kUseQProj, false) ? kTrue : kFalse;
  config.options[kUseRouter] = reader.Bool(kUseRouter, false) ? kTrue : kFalse;
  config.options[kImplementation] = implementation;
  const absl::Status fits = CheckDimensions(reader, base);
  if (!reader.status().ok()) return reader.status();
  if (!fits.ok()) return fits;
  return config;
}

absl::StatusOr<MemoryKinds> LoadAhn(const ModuleContents& module) {
  const ModelConfig& base = module.base;
  const int64_t c = base.hidden_size, h = base.num_heads, d = base.head_dim;
  LayerReader reader({module.tensors, base.num_layers, "model.layers.", kRuleInfix});
  AhnWeights weights;
  const auto rule = RuleNamed(module.config.Option(kImplementation, ""));
  if (!rule.ok()) return rule.status();
  const auto maps_queries = Flag(module.config, kUseQProj);
  if (!maps_queries.ok()) return maps_queries.status();
  const auto has_router = Flag(module.config, kUseRouter);
  if (!has_router.ok()) return has_router.status();
  weights.rule = *rule;
  weights.b_proj = reader.Read("b_proj.weight", {h, c});
  if (weights.rule == AhnRule::kGatedDeltaNet) {
    weights.a_proj = reader.Read("a_proj.weight", {h, c});
    weights.a_log = reader.Read("A_log", {h});
    weights.dt_bias = reader.Read("dt_bias", {h});
    // A plain delta net never maps the query, whatever its config says.
    if (*maps_queries) {
      if (base.qk_norm) {
        return absl::UnimplementedError(
            Concat(kUseQProj, ": is not supported for models that normalise queries"));
      }
      weights.q_proj = reader.Read("q_proj.weight", {h, d, d});
    }
  }
  weights.g_proj = reader.Read("g_proj.weight", {h, c});
  weights.o_norm = reader.Read("o_norm.weight", {d});
  weights.o_proj = reader.Read("o_proj.weight", {h, d, d});
  if (!reader.status().ok()) return reader.status();
  if (*has_router) {
    LayerReader router({module.tensors, base.num_layers, "model.layers.", kRouterInfix});
    weights.router_alpha = router.Read("alpha", {h});
    weights.router_beta = router.Read("beta", {h});
    if (!router.status().ok()) return router.status();
  }
  weights.sliding_window = static_cast<float>(module.config.window_tokens + module.config.segment_tokens);
  MemoryKinds kinds;
  kinds.push_back(MakeAhnKind(base, std::move(weights)));
  return kinds;
}

}  // namespace memgate
