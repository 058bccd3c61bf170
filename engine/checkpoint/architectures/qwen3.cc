// Qwen 3: RMSNorm of every query and key head.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  RequireSilu(reader, "hidden_act");
  RefuseAttentionBias(reader);
  RefuseMlpBias(reader);
  ReadDimensions(reader, {.head_dim = 128}, config);
  ReadRope(reader, config.rope);
  config.sliding_window = ReadQwenSlidingWindow(reader, config);
  ReadCommon(reader, config);
  config.qk_norm = true;
}

}  // namespace

const Architecture kQwen3 = {"Qwen3ForCausalLM", Read};

}  // namespace memgate
