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

constexpr GgufTensorName kGgufTensors[] = {
    {"attn_q.weight", "self_attn.q_proj.weight", GgufRows::kPaired},
    {"attn_k.weight", "self_attn.k_proj.weight", GgufRows::kPaired},
};
// Mistral models, too, are named so in GGUF files.
constexpr GgufArchitecture kGguf = {.name = "llama", .layer_tensors = kGgufTensors};

}  // namespace

const Architecture kLlama = {"LlamaForCausalLM", Read, &kGguf};

}  // namespace memgate
