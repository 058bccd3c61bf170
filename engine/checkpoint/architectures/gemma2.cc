// Gemma 2: 1 + w in norms, norms behind the blocks too, capped scores and logits, a window in every other
// layer.
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {

void ReadGemma(ConfigReader& reader, ModelConfig& config) {
  RequireActivation(reader, "hidden_activation", Activation::kGeluTanh, config);
  RefuseAttentionBias(reader);
  ReadCommon(reader, {.tied_embeddings = true}, config);
  config.query_scalar = reader.Number("query_pre_attn_scalar", 256, 1e-3, 1e6);
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden_size));
  config.norm_offset = 1.0f;
  config.post_norms = true;
}

void AddGemmaQueryScalar(int64_t layers_of_27b, nlohmann::json& config) {
  const int64_t heads = config.value("num_attention_heads", int64_t{0});
  const bool by_width = config.value("num_hidden_layers", int64_t{0}) == layers_of_27b && heads > 0;
  config["query_pre_attn_scalar"] =
      by_width ? config.value("hidden_size", int64_t{0}) / heads : config.value("head_dim", int64_t{256});
}

namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadDimensions(reader, {.head_dim = 256}, config);
  ReadGemma(reader, config);
  ReadRope(reader, 1e4, config);
  ReadLayerWindows(
      reader, ReadWindow(reader, 4096), [](int layer) { return layer % 2 == 0; }, config);
  config.attention_softcap = ReadSoftCap(reader, "attn_logit_softcapping", 50);
  config.logit_softcap = ReadSoftCap(reader, "final_logit_softcapping", 30);
}

void CompleteGguf(nlohmann::json& config) { AddGemmaQueryScalar(/*layers_of_27b=*/46, config); }

constexpr GgufKeyName kGgufKeys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"attn_logit_softcapping", "attn_logit_softcapping", GgufKeyType::kNumber},
    {"final_logit_softcapping", "final_logit_softcapping", GgufKeyType::kNumber},
};
constexpr GgufTensorName kGgufTensors[] = {
    {"post_attention_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
};
constexpr GgufArchitecture kGguf = {.name = "gemma2",
                                    .keys = kGgufKeys,
                                    .layer_tensors = kGgufTensors,
                                    .complete = CompleteGguf,
                                    .whole_norms = true};

}  // namespace

const Architecture kGemma2 = {"Gemma2ForCausalLM", Read, &kGguf};

}  // namespace memgate
