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

}  // namespace

const Architecture kPhi3 = {"Phi3ForCausalLM", Read};

}  // namespace memgate
