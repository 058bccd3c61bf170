// Gemma 3, the language model: Gemma 2 with q and k norms instead of caps, a window in five layers of six,
// and another RoPE there.
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>

#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

using nlohmann::json;

// ropes[0] of the layers that see everything, ropes[1] of those with a window. Newer files hold both under
// rope_parameters, by type of layer.
void ReadRopes(ConfigReader& reader, ModelConfig& config) {
  constexpr double kTheta = 1e6, kLocalTheta = 1e4;
  config.ropes.resize(2);
  const json* parameters = reader.Find("rope_parameters");
  if (parameters == nullptr || !parameters->is_object() || !parameters->contains("full_attention")) {
    ReadRope(reader, kTheta, config);
    config.ropes[1].theta = reader.Number("rope_local_base_freq", kLocalTheta, 1.0, 1e15);
    return;
  }
  for (const auto& [type, theta, index] :
       {std::tuple("full_attention", kTheta, 0), std::tuple("sliding_attention", kLocalTheta, 1)}) {
    const auto found = parameters->find(type);
    if (found == parameters->end() || !found->is_object()) {
      reader.Fail("rope_parameters", std::string(type) + " must be an object");
      return;
    }
    ConfigReader nested(*found, "rope_parameters." + std::string(type) + ".");
    ReadRopeParameters(nested, {.theta = theta}, config, config.ropes[index]);
    reader.Adopt(nested.status());
  }
}

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadDimensions(
      reader,
      {.num_heads = 8, .num_kv_heads = 4, .head_dim = 256, .vocab_size = 262208, .max_position = 131072},
      config);
  ReadGemma(reader, config);
  ReadRopes(reader, config);
  const int64_t pattern = reader.Int("sliding_window_pattern", 6, 1, 1024);
  ReadLayerWindows(
      reader, ReadWindow(reader, 4096), [pattern](int layer) { return (layer + 1) % pattern != 0; }, config);
  for (LayerConfig& layer : config.layers) layer.rope = layer.window > 0 ? 1 : 0;
  config.attention_softcap = ReadSoftCap(reader, "attn_logit_softcapping", 0);
  config.logit_softcap = ReadSoftCap(reader, "final_logit_softcapping", 0);
  config.qk_norm = true;
  if (reader.Bool("use_bidirectional_attention", false)) {
    reader.FailUnsupported("use_bidirectional_attention", "models that look ahead are not supported");
  }
}

// As published, and as newer tools write it.
constexpr TensorNames kConditionalNames[] = {{"language_model.model.", "language_model.lm_head"},
                                             {"model.language_model.", "lm_head"}};

// The language model inside the one that also reads images.
void ReadConditional(ConfigReader& reader, ModelConfig& config) {
  const json* text = reader.Find("text_config");
  if (text == nullptr || !text->is_object()) {
    reader.Fail("text_config", "must be an object");
    return;
  }
  ConfigReader nested(*text, "text_config.");
  Read(nested, config);
  reader.Adopt(nested.status());
}

// Without a window in the file, no layer has one; files do not name the rest of what their readers know.
void CompleteGguf(nlohmann::json& config) {
  AddGemmaQueryScalar(/*layers_of_27b=*/62, config);
  if (!config.contains("sliding_window")) config["sliding_window_pattern"] = 1;
}

constexpr GgufKeyName kGgufKeys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"attention.sliding_window_pattern", "sliding_window_pattern"},
    {"rope.freq_base_swa", "rope_local_base_freq", GgufKeyType::kNumber},
    {"final_logit_softcapping", "final_logit_softcapping", GgufKeyType::kNumber},
};
constexpr GgufTensorName kGgufTensors[] = {
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
    {"post_attention_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
};
constexpr GgufArchitecture kGguf = {.name = "gemma3",
                                    .keys = kGgufKeys,
                                    .layer_tensors = kGgufTensors,
                                    .complete = CompleteGguf,
                                    .whole_norms = true};

}  // namespace

const Architecture kGemma3 = {"Gemma3ForCausalLM", Read, &kGguf};
const Architecture kGemma3Conditional = {"Gemma3ForConditionalGeneration", ReadConditional, nullptr,
                                         kConditionalNames};

}  // namespace memgate
