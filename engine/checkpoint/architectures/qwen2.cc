// Qwen 2 and 2.5: biases on queries, keys and values.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

// Whatever attention_bias says.
void Read(ConfigReader& reader, ModelConfig& config) {
  RequireActivation(reader, "hidden_act", Activation::kSilu, config);
  RefuseMlpBias(reader);
  ReadDimensions(reader, {}, config);
  ReadRope(reader, 1e4, config);
  ReadQwenWindows(reader, config);
  ReadCommon(reader, {}, config);
  config.qkv_bias = true;
}

constexpr GgufTensorName kGgufTensors[] = {
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
};
constexpr GgufArchitecture kGguf = {.name = "qwen2", .layer_tensors = kGgufTensors};

}  // namespace

const Architecture kQwen2 = {"Qwen2ForCausalLM", Read, &kGguf};

}  // namespace memgate
