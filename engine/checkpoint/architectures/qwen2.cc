// Qwen 2 and 2.5: biases on queries, keys and values.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

// Whatever attention_bias says.
void Read(ConfigReader& reader, ModelConfig& config) {
  RequireSilu(reader, "hidden_act");
  RefuseMlpBias(reader);
  ReadDimensions(reader, {}, config);
  ReadRope(reader, config.rope);
  config.sliding_window = ReadQwenSlidingWindow(reader, config);
  ReadCommon(reader, config);
  config.qkv_bias = true;
}

}  // namespace

const Architecture kQwen2 = {"Qwen2ForCausalLM", Read};

}  // namespace memgate
