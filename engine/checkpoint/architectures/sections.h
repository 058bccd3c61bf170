// Parts of config.json that architectures have in common. Keys and defaults are those of the Transformers
// library's configuration classes.
#ifndef MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_SECTIONS_H_
#define MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_SECTIONS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "engine/checkpoint/config_reader.h"
#include "engine/checkpoint/model_config.h"

namespace memgate {

inline constexpr int64_t kMaxPosition = int64_t{1} << 40;
inline constexpr int kMaxHeadDim = 1024;

// What a missing key means; where there is nothing, the key is required.
struct DimensionDefaults {
  std::optional<int> num_heads;
  std::optional<int> num_kv_heads;  // nothing: num_attention_heads
  std::optional<int> head_dim;      // nothing: hidden_size / num_attention_heads
  std::optional<int> vocab_size;
  std::optional<int64_t> max_position;
};

// L, C, H, G, D, F, V and max_position; refuses what is no positive, bounded number, G that does not divide
// H, odd D.
void ReadDimensions(ConfigReader& reader, const DimensionDefaults& defaults, ModelConfig& config);

// Whether an architecture may rotate only the first dimensions of each head.
enum class HeadRotation { kWhole, kMayBePart };

// config.ropes[0]: rope_theta and partial_rotary_factor with rope_scaling, or, in newer files,
// rope_parameters, which holds all of that. REQUIRES: dimensions are read.
void ReadRope(ConfigReader& reader, double default_theta, ModelConfig& config,
              HeadRotation rotation = HeadRotation::kWhole);

// What an object of RoPE parameters need not say itself.
struct RopeDefaults {
  double theta = 10000.0;
  double rotated_part = 1.0;          // of a head
  int64_t original_max_position = 0;  // for longrope; 0 = it does say
  HeadRotation rotation = HeadRotation::kWhole;
};
// `rope` from one object that holds rope_theta and, if any, a scaling.
void ReadRopeParameters(ConfigReader& parameters, const RopeDefaults& defaults, const ModelConfig& config,
                        RopeConfig& rope);

struct CommonDefaults {
  double rms_norm_eps = 1e-6;
  bool tied_embeddings = false;
};
// rms_norm_eps and tie_word_embeddings.
void ReadCommon(ConfigReader& reader, const CommonDefaults& defaults, ModelConfig& config);

// sliding_window in tokens, `fallback` if there is none.
int64_t ReadWindow(ConfigReader& reader, int64_t fallback);
// Gives the layers a window that layer_types calls "sliding_attention"; where the file does not name them,
// those that `has_window` tells. Nothing if `window` is 0.
void ReadLayerWindows(ConfigReader& reader, int64_t window, absl::FunctionRef<bool(int layer)> has_window,
                      ModelConfig& config);
// As Qwen models do: only with use_sliding_window, and only in the layers from max_window_layers on.
void ReadQwenWindows(ConfigReader& reader, ModelConfig& config);

// The activation of the feed-forward part. UNIMPLEMENTED unless `key` is absent or names it.
void RequireActivation(ConfigReader& reader, std::string_view key, Activation activation,
                       ModelConfig& config);
// A cap of scores or logits; 0 where the key is null.
float ReadSoftCap(ConfigReader& reader, std::string_view key, float fallback);
// What Gemma 2 and 3 share. REQUIRES: dimensions are read.
void ReadGemma(ConfigReader& reader, ModelConfig& config);
// query_pre_attn_scalar as readers of Gemma's GGUF files know it: the size of a head, or, for the largest
// published model, which has so many layers, the width divided by the number of heads.
void AddGemmaQueryScalar(int64_t layers_of_27b, nlohmann::json& config);
void RefuseAttentionBias(ConfigReader& reader);
void RefuseMlpBias(ConfigReader& reader);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_SECTIONS_H_
