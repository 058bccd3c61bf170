// A model that runs on sessions of tiny_session.h, with the same weights in every run.
#ifndef MEMGATE_TESTS_FUZZ_TINY_MODEL_H_
#define MEMGATE_TESTS_FUZZ_TINY_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/tensor.h"
#include "engine/model/transformer.h"
#include "engine/model/weights.h"
#include "tests/fuzz/input_parts.h"

namespace memgate {

class TinyTensors : public TensorSource {
 public:
  explicit TinyTensors(const ModelConfig& config) {
    const int64_t c = config.hidden_size, f = config.intermediate_size;
    const int64_t q = int64_t{config.num_heads} * config.head_dim;
    const int64_t kv = int64_t{config.num_kv_heads} * config.head_dim;
    Add("model.embed_tokens.weight", {config.vocab_size, c});
    Add("lm_head.weight", {config.vocab_size, c});
    Add("model.norm.weight", {c});
    for (int layer = 0; layer < config.num_layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      Add(prefix + "input_layernorm.weight", {c});
      Add(prefix + "post_attention_layernorm.weight", {c});
      Add(prefix + "self_attn.q_proj.weight", {q, c});
      Add(prefix + "self_attn.k_proj.weight", {kv, c});
      Add(prefix + "self_attn.v_proj.weight", {kv, c});
      Add(prefix + "self_attn.o_proj.weight", {c, q});
      Add(prefix + "mlp.gate_proj.weight", {f, c});
      Add(prefix + "mlp.up_proj.weight", {f, c});
      Add(prefix + "mlp.down_proj.weight", {c, f});
    }
  }

  absl::StatusOr<TensorView> Find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return absl::NotFoundError("no such tensor");
    const auto& [shape, values] = found->second;
    return TensorView{found->first, DType::kF32, shape, reinterpret_cast<const std::byte*>(values.data()),
                      values.size() * sizeof(float)};
  }
  bool Has(std::string_view name) const override { return tensors_.find(name) != tensors_.end(); }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors_) names.push_back(name);
    return names;
  }

 private:
  // Numbers that look random enough for layers to differ.
  void Add(std::string name, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(++drawn_ * 7 % 13 - 6) / 8);
    tensors_.emplace(std::move(name), std::pair(std::move(shape), std::move(values)));
  }

  int64_t drawn_ = 0;
  std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>, std::less<>> tensors_;
};

class TinyModel {
 public:
  explicit TinyModel(const ModelConfig& config)
      : tensors_(config),
        transformer_(config, Load(config, tensors_)),
        work_(config, {.max_tokens = kMaxTokens, .max_logit_rows = 1, .weights = kFormat}) {}

  const ModelConfig& config() const { return transformer_.config(); }
  const LayerRopes& ropes() const { return transformer_.ropes(); }

  // Takes in as many of `tokens` as one step can, and drops them. Logits of the last one.
  absl::Span<float> Step(SessionState& session, absl::Span<const int32_t>& tokens) {
    const auto chunk = tokens.first(
        std::min<int64_t>({kMaxTokens, session.TokensUntilFold(), static_cast<int64_t>(tokens.size())}));
    tokens.remove_prefix(chunk.size());
    const SequenceChunk batch[] = {{.session = &session, .tokens = chunk}};
    const auto logits = transformer_.Forward(batch, work_);
    Require(logits.ok());
    return *logits;
  }

 private:
  static constexpr int kMaxTokens = 4;
  static constexpr WeightFormat kFormat = WeightFormat::kInt8;  // our own kernels

  static ModelWeights Load(const ModelConfig& config, const TensorSource& tensors) {
    auto weights = LoadWeights(config, tensors, kFormat, [](int, int) {});
    Require(weights.ok());
    return *std::move(weights);
  }

  const TinyTensors tensors_;
  const Transformer transformer_;
  Workspace work_;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_TINY_MODEL_H_
