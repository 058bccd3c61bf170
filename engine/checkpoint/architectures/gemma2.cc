// Gemma 2: 1 + w in norms, norms behind the blocks too, capped scores and logits, a window in every other
// layer.
#include <cmath>

#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {

void ReadGemma(ConfigReader& reader, ModelConfig& config) {
  RequireActivation(reader, "hidden_activation", Activation::kGeluTanh, config);
  RefuseAttentionBias(reader);
  ReadCommon(reader, {.tied_embeddings = true}, config);
  config.query_scalar = reader.Number("query_pre_attn_scalar", 256, 1e-3, 1e6);
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden_size));
  config.norm_offset = 1.0f;
  config.post_norms = true;
}

namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadDimensions(reader, {.head_dim = 256}, config);
  ReadGemma(reader, config);
  ReadRope(reader, 1e4, config);
  ReadLayerWindows(
      reader, ReadWindow(reader, 4096), [](int layer) { return layer % 2 == 0; }, config);
  config.attention_softcap = ReadSoftCap(reader, "attn_logit_softcapping", 50);
  config.logit_softcap = ReadSoftCap(reader, "final_logit_softcapping", 30);
}

}  // namespace

const Architecture kGemma2 = {"Gemma2ForCausalLM", Read};

}  // namespace memgate
