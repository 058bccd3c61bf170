// Parts of config.json that architectures have in common. Keys and defaults are those of the Transformers
// library's configuration classes.
#ifndef MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_SECTIONS_H_
#define MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_SECTIONS_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/checkpoint/config_reader.h"
#include "engine/checkpoint/model_config.h"

namespace memgate {

inline constexpr int64_t kMaxPosition = int64_t{1} << 40;

// What a missing key means; where there is nothing, the key is required.
struct DimensionDefaults {
  std::optional<int> head_dim;  // nothing: hidden_size / num_attention_heads
};

// L, C, H, G, D, F, V and max_position; refuses what is no positive, bounded number, G that does not divide
// H, odd D.
void ReadDimensions(ConfigReader& reader, const DimensionDefaults& defaults, ModelConfig& config);

// rope_theta with rope_scaling, or, in newer files, rope_parameters, which holds both.
void ReadRope(ConfigReader& reader, RopeConfig& rope);

// rms_norm_eps and tie_word_embeddings.
void ReadCommon(ConfigReader& reader, ModelConfig& config);

// sliding_window in tokens, 0 if there is none.
int64_t ReadSlidingWindow(ConfigReader& reader);
// That of Qwen models: only with use_sliding_window, and only in the layers from max_window_layers on.
int64_t ReadQwenSlidingWindow(ConfigReader& reader, const ModelConfig& config);

// UNIMPLEMENTED unless `key` is absent or silu.
void RequireSilu(ConfigReader& reader, std::string_view key);
void RefuseAttentionBias(ConfigReader& reader);
void RefuseMlpBias(ConfigReader& reader);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_SECTIONS_H_
