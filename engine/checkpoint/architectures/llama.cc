// Llama 2, 3, 3.1 and 3.2, SmolLM2, TinyLlama.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  RequireActivation(reader, "hidden_act", Activation::kSilu, config);
  RefuseAttentionBias(reader);
  RefuseMlpBias(reader);
  ReadDimensions(reader, {}, config);
  ReadRope(reader, 1e4, config);
  ReadCommon(reader, {}, config);
}

}  // namespace

const Architecture kLlama = {"LlamaForCausalLM", Read};

}  // namespace memgate
