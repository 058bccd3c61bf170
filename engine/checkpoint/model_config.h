// The hyper-parameters of a decoder-only language model, as every other layer sees them.
#ifndef MEMGATE_ENGINE_CHECKPOINT_MODEL_CONFIG_H_
#define MEMGATE_ENGINE_CHECKPOINT_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/activation.h"

namespace memgate {

// Llama 3's frequency-dependent stretching of RoPE ("rope_type": "llama3").
struct Llama3RopeScaling {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position = 8192;  // tokens
};

// Phi-3's stretching of RoPE by a factor per frequency ("rope_type": "longrope", arXiv 2402.13753).
struct LongRopeScaling {
  std::vector<double> short_factors;     // [pairs], of contexts up to original_max_position
  std::vector<double> long_factors;      // [pairs], of longer ones
  int64_t original_max_position = 4096;  // tokens
  double attention_factor = 1.0;         // rotated queries and keys are multiplied by it

  // Whether a context of that many tokens has the long factors.
  bool Stretches(int64_t context_tokens) const { return context_tokens > original_max_position; }
};

struct RopeConfig {
  bool rotates = true;   // false: the layer does not see positions ("NoPE", arXiv 2501.18795)
  int rotated_dims = 0;  // of a head, the first ones, even ("partial_rotary_factor"); 0 = all
  double theta = 10000.0;
  // Positions are divided by this ("rope_type": "linear"); 1 = off.
  double linear_factor = 1.0;
  std::optional<Llama3RopeScaling> llama3;
  // [pairs]: each frequency is divided by this; empty = off. What GGUF files hold instead of `llama3`.
  std::vector<float> divisors;
  std::optional<LongRopeScaling> longrope;

  // How many pairs of a head's dimensions are rotated, each with a frequency of its own.
  int Pairs(int head_dim) const { return (rotated_dims > 0 ? rotated_dims : head_dim) / 2; }
};

// In what layers may differ.
struct LayerConfig {
  int64_t window = 0;  // the last tokens that a query sees, its own included; 0 = all
  int rope = 0;        // which of ModelConfig::ropes
};

// Shapes use the letters of docs/design.md: L layers, C model dim, H query heads, G KV heads, D head dim,
// F feed-forward dim, V vocabulary.
struct ModelConfig {
  std::string architecture;  // e.g. "LlamaForCausalLM"
  // Names of tensors: before "embed_tokens", "layers" and "norm", and the output matrix if it is one of its
  // own.
  std::string tensor_prefix = "model.";
  std::string head_tensor = "lm_head";
  int num_layers = 0;         // L
  int hidden_size = 0;        // C
  int num_heads = 0;          // H
  int num_kv_heads = 0;       // G, divides H
  int head_dim = 0;           // D, even
  int intermediate_size = 0;  // F
  int vocab_size = 0;         // V
  int64_t max_position = 0;   // trained context, tokens
  float rms_norm_eps = 1e-5f;
  std::vector<RopeConfig> ropes = {RopeConfig{}};  // those of its layers, at least one
  std::vector<LayerConfig> layers;  // [L], or empty: every layer sees all tokens, rotated by ropes[0]

  bool qkv_bias = false;
  bool qk_norm = false;            // RMSNorm over D of every q and k head, before RoPE
  bool tied_embeddings = false;    // lm_head = embed_tokens
  bool fused_projections = false;  // one tensor for queries, keys and values, one for gate and up
  bool post_norms = false;         // RMSNorm also behind attention and feed-forward, before the residual
  Activation activation = Activation::kSilu;
  float norm_offset = 0.0f;      // added to the weights of RMSNorms as the files hold them
  float embedding_scale = 1.0f;  // token embeddings are multiplied by it
  // Query times key is divided by the square root of this; 0 = D.
  double query_scalar = 0;
  float attention_softcap = 0;  // bounds the divided scores, cap tanh(score / cap); 0 = no bound
  float logit_softcap = 0;      // bounds the logits in the same way; 0 = no bound

  int group_size() const { return num_heads / num_kv_heads; }  // R
  LayerConfig layer(int index) const { return layers.empty() ? LayerConfig{} : layers[index]; }
  // What a query times a key is multiplied by in that layer.
  float AttentionScale(int layer) const;
  // The window of a model all of whose layers have one (the longest of them), else 0. Tokens farther back are
  // not seen even by the exact path, so the engine refuses exact contexts beyond it.
  int64_t sliding_window() const;
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
