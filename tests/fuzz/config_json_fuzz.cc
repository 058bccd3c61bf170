// Any text as config.json and generation_config.json: refused, or what was read keeps the promises that the
// layers above rely on, and what they compute from it before anything is allocated does not overflow.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/checkpoint/hugging_face.h"
#include "engine/loaded_model.h"
#include "engine/memory/memory_kind.h"
#include "engine/model/transformer.h"
#include "engine/model/weights.h"
#include "engine/session/layer_ropes.h"
#include "engine/session/session_state.h"
#include "tests/fuzz/input_parts.h"

namespace memgate {
namespace {

void CheckRope(const RopeConfig& rope, int head_dim) {
  Require(rope.theta >= 1 && rope.linear_factor >= 1);
  if (rope.llama3.has_value()) {
    Require(rope.llama3->factor >= 1 && rope.llama3->original_max_position >= 1);
    Require(rope.llama3->high_freq_factor > rope.llama3->low_freq_factor);
  }
  if (rope.longrope.has_value()) {
    for (const auto& factors : {rope.longrope->short_factors, rope.longrope->long_factors}) {
      Require(factors.size() == static_cast<size_t>(head_dim / 2));
      for (const double factor : factors) Require(factor > 0 && std::isfinite(factor));
    }
    Require(rope.longrope->original_max_position >= 2 && rope.longrope->attention_factor > 0);
  }
}

void CheckConfig(const ModelConfig& config) {
  Require(config.num_layers >= 1 && config.num_layers <= 1024);
  Require(config.hidden_size >= 1 && config.intermediate_size >= 1 && config.vocab_size >= 1);
  Require(config.num_kv_heads >= 1 && config.num_heads % config.num_kv_heads == 0);
  Require(config.head_dim >= 2 && config.head_dim % 2 == 0);
  Require(int64_t{config.num_heads} * config.head_dim <= 1 << 20);
  Require(config.max_position >= 1 && config.sliding_window() >= 0 && config.rms_norm_eps > 0);
  for (const RopeConfig& rope : config.ropes) CheckRope(rope, config.head_dim);
  Require(config.layers.empty() || config.layers.size() == static_cast<size_t>(config.num_layers));
  for (const LayerConfig& layer : config.layers) {
    Require(layer.window >= 0 && layer.rope >= 0 && layer.rope < static_cast<int>(config.ropes.size()));
  }
  Require(std::isfinite(config.AttentionScale(0)) && config.AttentionScale(0) > 0);
  Require(config.attention_softcap >= 0 && config.logit_softcap >= 0 && config.embedding_scale > 0);
}

void CheckLayerRopes(const ModelConfig& config) {
  const LayerRopes ropes(config);
  for (size_t r = 0; r < config.ropes.size(); ++r) {
    for (const int64_t context : {int64_t{1}, config.max_position}) {
      Require(ropes.At(static_cast<int>(r), context).head_dim() == config.head_dim);
      for (const double frequency : RopeFrequencies(config.ropes[r], config.head_dim, context)) {
        Require(std::isfinite(frequency) && frequency >= 0);
      }
    }
  }
}

void CheckBytes(const ModelConfig& config) {
  static const auto window = MakeWindowKind();
  Require(LoadScratchBytes(config) > 0);
  for (const WeightFormat format :
       {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    Require(PackedWeightBytes(config, format) > 0);
    Require(Workspace::Bytes(config, {.max_tokens = 256, .max_logit_rows = 64, .weights = format}) > 0);
  }
  for (const KvFormat format : kKvFormats) {
    const SessionContext context{.config = &config, .kind = window.get(), .kv_format = format};
    Require(FullKvBytes(config, format, 1 << 20) > 0);
    Require(SessionState::Bytes(context, {}).total() > 0);
    Require(SessionState::Bytes(context, SessionShape::Exact(1 << 20)).total() > 0);
  }
}

void CheckGeneration(GenerationDefaults defaults) {
  for (const int32_t id : defaults.eos_token_ids) Require(id >= 0);
  if (defaults.top_p.has_value()) Require(*defaults.top_p > 0 && *defaults.top_p <= 1);
  if (defaults.temperature.has_value()) Require(*defaults.temperature >= 0);
  if (defaults.repetition_penalty.has_value()) Require(*defaults.repetition_penalty > 0);
  constexpr int kVocabulary = 8;
  if (!FitToVocabulary(kVocabulary, defaults).ok()) return;
  for (const int32_t id : defaults.eos_token_ids) Require(id < kVocabulary);
  Require(defaults.top_k.value_or(0) <= kVocabulary);
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  const std::string_view text = AsText(data, size);
  if (const auto config = ParseModelConfig(text); config.ok()) {
    CheckConfig(*config);
    CheckLayerRopes(*config);
    CheckBytes(*config);
  }
  if (const auto generation = ParseGenerationDefaults(text); generation.ok()) CheckGeneration(*generation);
  if (const auto ids = ParseEosTokenIds(text); ids.ok()) {
    for (const int32_t id : *ids) Require(id >= 0);
  }
  return 0;
}
