// Any text as config.json and generation_config.json: refused, or what was read keeps the promises that the
// layers above rely on.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/checkpoint/hugging_face.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckRope(const memgate::RopeConfig& rope, int head_dim) {
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

void CheckConfig(const memgate::ModelConfig& config) {
  Require(config.num_layers >= 1 && config.num_layers <= 1024);
  Require(config.hidden_size >= 1 && config.intermediate_size >= 1 && config.vocab_size >= 1);
  Require(config.num_kv_heads >= 1 && config.num_heads % config.num_kv_heads == 0);
  Require(config.head_dim >= 2 && config.head_dim % 2 == 0);
  Require(int64_t{config.num_heads} * config.head_dim <= 1 << 20);
  Require(config.max_position >= 1 && config.sliding_window() >= 0 && config.rms_norm_eps > 0);
  for (const memgate::RopeConfig& rope : config.ropes) CheckRope(rope, config.head_dim);
  Require(config.layers.empty() || config.layers.size() == static_cast<size_t>(config.num_layers));
  for (const memgate::LayerConfig& layer : config.layers) {
    Require(layer.window >= 0 && layer.rope >= 0 && layer.rope < static_cast<int>(config.ropes.size()));
  }
  Require(std::isfinite(config.AttentionScale(0)) && config.AttentionScale(0) > 0);
  Require(config.attention_softcap >= 0 && config.logit_softcap >= 0 && config.embedding_scale > 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto config = memgate::ParseModelConfig(text); config.ok()) CheckConfig(*config);
  if (const auto generation = memgate::ParseGenerationDefaults(text); generation.ok()) {
    for (const int32_t id : generation->eos_token_ids) Require(id >= 0);
    if (generation->top_p.has_value()) Require(*generation->top_p > 0 && *generation->top_p <= 1);
    if (generation->temperature.has_value()) Require(*generation->temperature >= 0);
  }
  return 0;
}
