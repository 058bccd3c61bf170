#include "engine/checkpoint/architectures/gguf_names.h"

namespace memgate {

absl::Span<const GgufKeyName> GgufKeys() {
  static constexpr GgufKeyName kKeys[] = {
      {"block_count", "num_hidden_layers"},
      {"context_length", "max_position_embeddings"},
      {"embedding_length", "hidden_size"},
      {"feed_forward_length", "intermediate_size"},
      {"attention.head_count", "num_attention_heads"},
      {"attention.head_count_kv", "num_key_value_heads"},
      {"attention.key_length", "head_dim"},
      {"attention.layer_norm_rms_epsilon", "rms_norm_eps", GgufKeyType::kNumber},
      {"rope.freq_base", "rope_theta", GgufKeyType::kNumber},
  };
  return kKeys;
}

absl::Span<const GgufTensorName> GgufOuterTensors() {
  static constexpr GgufTensorName kTensors[] = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
  };
  return kTensors;
}

absl::Span<const GgufTensorName> GgufLayerTensors() {
  static constexpr GgufTensorName kTensors[] = {
      {"attn_norm.weight", "input_layernorm.weight"},
      {"attn_q.weight", "self_attn.q_proj.weight"},
      {"attn_k.weight", "self_attn.k_proj.weight"},
      {"attn_v.weight", "self_attn.v_proj.weight"},
      {"attn_output.weight", "self_attn.o_proj.weight"},
      {"ffn_norm.weight", "post_attention_layernorm.weight"},
      {"ffn_gate.weight", "mlp.gate_proj.weight"},
      {"ffn_up.weight", "mlp.up_proj.weight"},
      {"ffn_down.weight", "mlp.down_proj.weight"},
  };
  return kTensors;
}

}  // namespace memgate
