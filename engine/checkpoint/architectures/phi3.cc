// Phi-3, 3.5 and 4 mini, Phi-3 medium: fused projections, longrope, in some a window in every layer, in some
// only a part of each head rotated.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  RequireActivation(reader, "hidden_act", Activation::kSilu, config);
  RefuseAttentionBias(reader);
  ReadDimensions(reader, {}, config);
  ReadRope(reader, 1e4, config, HeadRotation::kMayBePart);
  ReadLayerWindows(
      reader, ReadWindow(reader, 0), [](int) { return true; }, config);
  ReadCommon(reader, {.rms_norm_eps = 1e-5}, config);
  config.fused_projections = true;
}

constexpr GgufKeyName kGgufKeys[] = {{"attention.sliding_window", "sliding_window"}};
constexpr GgufTensorName kGgufTensors[] = {
    {"attn_qkv.weight", "self_attn.qkv_proj.weight"},
    {"ffn_up.weight", "mlp.gate_up_proj.weight"},
    // Parts of the fused ones.
    {"attn_q.weight", ""},
    {"attn_k.weight", ""},
    {"attn_v.weight", ""},
    {"ffn_gate.weight", ""},
};
constexpr GgufArchitecture kGguf = {.name = "phi3", .keys = kGgufKeys, .layer_tensors = kGgufTensors};

}  // namespace

const Architecture kPhi3 = {"Phi3ForCausalLM", Read, &kGguf};

}  // namespace memgate
