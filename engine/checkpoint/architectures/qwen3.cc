// Qwen 3: RMSNorm of every query and key head.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  RequireActivation(reader, "hidden_act", Activation::kSilu, config);
  RefuseAttentionBias(reader);
  RefuseMlpBias(reader);
  ReadDimensions(reader, {.head_dim = 128}, config);
  ReadRope(reader, 1e4, config);
  ReadQwenWindows(reader, config);
  ReadCommon(reader, {}, config);
  config.qk_norm = true;
}

constexpr GgufTensorName kGgufTensors[] = {
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
};
constexpr GgufArchitecture kGguf = {.name = "qwen3", .layer_tensors = kGgufTensors};

}  // namespace

const Architecture kQwen3 = {"Qwen3ForCausalLM", Read, &kGguf};

}  // namespace memgate
