// Any text as config.json and generation_config.json: refused, or what was read keeps the promises that the
// layers above rely on.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/checkpoint/hugging_face.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckConfig(const memgate::ModelConfig& config) {
  Require(config.num_layers >= 1 && config.num_layers <= 1024);
  Require(config.hidden_size >= 1 && config.intermediate_size >= 1 && config.vocab_size >= 1);
  Require(config.num_kv_heads >= 1 && config.num_heads % config.num_kv_heads == 0);
  Require(config.head_dim >= 2 && config.head_dim % 2 == 0);
  Require(int64_t{config.num_heads} * config.head_dim <= 1 << 20);
  Require(config.max_position >= 1 && config.sliding_window >= 0);
  Require(config.rms_norm_eps > 0 && config.rope.theta >= 1 && config.rope.linear_factor >= 1);
  if (config.rope.llama3.has_value()) {
    Require(config.rope.llama3->factor >= 1 && config.rope.llama3->original_max_position >= 1);
    Require(config.rope.llama3->high_freq_factor > config.rope.llama3->low_freq_factor);
  }
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
