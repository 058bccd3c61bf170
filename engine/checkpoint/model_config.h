// The hyper-parameters of a decoder-only language model, as every other layer sees them.
#ifndef MEMGATE_ENGINE_CHECKPOINT_MODEL_CONFIG_H_
#define MEMGATE_ENGINE_CHECKPOINT_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace memgate {

// Llama 3's frequency-dependent stretching of RoPE ("rope_type": "llama3").
struct Llama3RopeScaling {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position = 8192;  // tokens
};

struct RopeConfig {
  double theta = 10000.0;
  // Positions are divided by this ("rope_type": "linear"); 1 = off.
  double linear_factor = 1.0;
  std::optional<Llama3RopeScaling> llama3;
};

// Shapes use the letters of docs/design.md: L layers, C model dim, H query heads, G KV heads, D head dim,
// F feed-forward dim, V vocabulary.
struct ModelConfig {
  std::string architecture;   // e.g. "LlamaForCausalLM"
  int num_layers = 0;         // L
  int hidden_size = 0;        // C
  int num_heads = 0;          // H
  int num_kv_heads = 0;       // G, divides H
  int head_dim = 0;           // D, even
  int intermediate_size = 0;  // F
  int vocab_size = 0;         // V
  int64_t max_position = 0;   // trained context, tokens
  // Sliding-window attention of the base model; 0 = none. Tokens farther back are not seen even by the
  // exact path, so the engine refuses exact contexts beyond it.
  int64_t sliding_window = 0;
  float rms_norm_eps = 1e-5f;
  RopeConfig rope;
  bool qkv_bias = false;         // Qwen2
  bool qk_norm = false;          // Qwen3: RMSNorm over D of every q and k head, before RoPE
  bool tied_embeddings = false;  // lm_head = embed_tokens

  int group_size() const { return num_heads / num_kv_heads; }  // R
};

// generation_config.json; absent values are not set.
struct GenerationDefaults {
  std::vector<int32_t> eos_token_ids;
  std::optional<float> temperature;
  std::optional<int> top_k;
  std::optional<float> top_p;
  std::optional<float> repetition_penalty;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_MODEL_CONFIG_H_
