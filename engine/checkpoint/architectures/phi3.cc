// Phi-3 and 3.5 mini and medium: fused projections, longrope, in some a window in every layer.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  RequireActivation(reader, "hidden_act", Activation::kSilu, config);
  RefuseAttentionBias(reader);
  ReadDimensions(reader, {}, config);
  ReadRope(reader, 1e4, config);
  ReadLayerWindows(
      reader, ReadWindow(reader, 0), [](int) { return true; }, config);
  ReadCommon(reader, {.rms_norm_eps = 1e-5}, config);
  config.fused_projections = true;
}

constexpr GgufKeyName kGgufKeys[] = {{"attention.sliding_window", "sliding_window"}};
constexpr GgufTensorName kGgufTensors[] = {
    {"attn_qkv.weight", "self_attn.qkv_proj.weight"},
    {"ffn_up.weight", "mlp.gate_up_proj.weight"},
};
constexpr GgufArchitecture kGguf = {.name = "phi3", .keys = kGgufKeys, .layer_tensors = kGgufTensors};

}  // namespace

const Architecture kPhi3 = {"Phi3ForCausalLM", Read, &kGguf};

}  // namespace memgate
