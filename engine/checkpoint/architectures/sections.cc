#include "engine/checkpoint/architectures/sections.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/json_util.h"

namespace memgate {
namespace {

using nlohmann::json;

// Upper limits: several times the largest published models, and small enough that the product of any two
// dimensions times four bytes fits an int64, and H * D an int.
constexpr int kMaxLayers = 1024;
constexpr int kMaxHiddenSize = 1 << 17;
constexpr int kMaxHeads = 1024;
constexpr int kMaxIntermediateSize = 1 << 20;
constexpr int kMaxVocabSize = 1 << 22;
constexpr double kMaxTheta = 1e15;

// "type" is the older spelling of "rope_type"; some files carry both.
std::string ReadRopeType(ConfigReader& reader) {
  const std::string type = reader.String("rope_type", reader.String("type", "default"));
  if (reader.String("type", type) != type) reader.Fail("type", "contradicts rope_type");
  return type;
}

Llama3RopeScaling ReadLlama3(ConfigReader& reader) {
  Llama3RopeScaling scaling;
  scaling.factor = reader.RequiredNumber("factor", 1.0, 1e6);
  scaling.low_freq_factor = reader.RequiredNumber("low_freq_factor", 1e-6, 1e6);
  scaling.high_freq_factor = reader.RequiredNumber("high_freq_factor", 1e-6, 1e6);
  scaling.original_max_position = reader.RequiredInt("original_max_position_embeddings", 1, kMaxPosition);
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    reader.Fail("high_freq_factor", "must be above low_freq_factor");
  }
  return scaling;
}

// The attention factor is that of the paper for the ratio of the contexts, unless it or another ratio is
// given.
LongRopeScaling ReadLongRope(ConfigReader& reader, const ModelConfig& config, const RopeConfig& rope,
                             int64_t original) {
  LongRopeScaling scaling;
  const size_t pairs = rope.Pairs(config.head_dim);
  scaling.short_factors = reader.RequiredNumbers("short_factor", pairs, 1e-6, 1e9);
  scaling.long_factors = reader.RequiredNumbers("long_factor", pairs, 1e-6, 1e9);
  scaling.original_max_position =
      original > 0 ? original : reader.RequiredInt("original_max_position_embeddings", 2, kMaxPosition);
  const auto from = static_cast<double>(scaling.original_max_position);
  double ratio = static_cast<double>(config.max_position) / from;
  if (original == 0) ratio = reader.Number("factor", ratio, 1e-6, 1e12);
  const double usual = ratio <= 1 ? 1.0 : std::sqrt(1 + std::log(ratio) / std::log(from));
  scaling.attention_factor = reader.Number("attention_factor", usual, 1e-3, 1e3);
  return scaling;
}

void ReadRopeScaling(ConfigReader& reader, const std::string& type, const RopeDefaults& defaults,
                     const ModelConfig& config, RopeConfig& rope) {
  if (type == "default") return;
  if (type == "linear") {
    rope.linear_factor = reader.RequiredNumber("factor", 1.0, 1e6);
  } else if (type == "llama3") {
    rope.llama3 = ReadLlama3(reader);
  } else if (type == "longrope" || type == "su") {  // its older name
    rope.longrope = ReadLongRope(reader, config, rope, defaults.original_max_position);
  } else if (type.empty()) {
    reader.Fail("rope_type", "is required");
  } else {
    reader.FailUnsupported(
        "rope_type", absl::StrCat(DescribeJson(type),
                                  " is not supported; supported are default, linear, llama3 and longrope"));
  }
}

// Which part of a head is rotated: a whole number of pairs, rounded down as the models' authors do.
void ReadRotatedPart(ConfigReader& reader, const RopeDefaults& defaults, const ModelConfig& config,
                     RopeConfig& rope) {
  constexpr const char* kKey = "partial_rotary_factor";
  constexpr double kRounding = 1e-6;  // GGUF files say dimensions, whose quotient need not be exact
  const double part = reader.Number(kKey, defaults.rotated_part, 0.0, 1.0);
  rope.rotated_dims = 0;
  if (part == 1.0) return;
  const int dims = static_cast<int>(config.head_dim * part + kRounding);
  if (defaults.rotation == HeadRotation::kWhole) {
    reader.FailUnsupported(kKey, "rotating a part of the head is not supported for this architecture");
  } else if (dims < 2 || dims % 2 != 0) {
    reader.Fail(kKey, absl::StrCat("rotates ", dims, " of ", config.head_dim,
                                   " dimensions, which must be an even number of them"));
  } else {
    rope.rotated_dims = dims;
  }
}

int IntOr(ConfigReader& reader, std::string_view key, std::optional<int> fallback, int max) {
  return static_cast<int>(fallback ? reader.Int(key, *fallback, 1, max) : reader.RequiredInt(key, 1, max));
}

}  // namespace

void ReadDimensions(ConfigReader& reader, const DimensionDefaults& defaults, ModelConfig& config) {
  config.num_layers = IntOr(reader, "num_hidden_layers", {}, kMaxLayers);
  config.hidden_size = IntOr(reader, "hidden_size", {}, kMaxHiddenSize);
  config.num_heads = IntOr(reader, "num_attention_heads", defaults.num_heads, kMaxHeads);
  config.intermediate_size = IntOr(reader, "intermediate_size", {}, kMaxIntermediateSize);
  config.vocab_size = IntOr(reader, "vocab_size", defaults.vocab_size, kMaxVocabSize);
  constexpr const char* kContext = "max_position_embeddings";
  config.max_position = defaults.max_position ? reader.Int(kContext, *defaults.max_position, 1, kMaxPosition)
                                              : reader.RequiredInt(kContext, 1, kMaxPosition);

  config.num_kv_heads =
      IntOr(reader, "num_key_value_heads", defaults.num_kv_heads.value_or(config.num_heads), kMaxHeads);
  if (config.num_heads % config.num_kv_heads != 0) {
    reader.Fail(
        "num_key_value_heads",
        absl::StrCat(config.num_kv_heads, " does not divide num_attention_heads (", config.num_heads, ")"));
  }

  if (reader.Find("head_dim") == nullptr && !defaults.head_dim &&
      config.hidden_size % config.num_heads != 0) {
    reader.Fail("hidden_size", absl::StrCat(config.hidden_size, " is no multiple of num_attention_heads (",
                                            config.num_heads, ") and head_dim is not given"));
  }
  int head_dim = defaults.head_dim.value_or(config.hidden_size / config.num_heads);
  head_dim = static_cast<int>(reader.Int("head_dim", head_dim, 1, kMaxHeadDim));
  if (head_dim % 2 != 0 || head_dim < 2 || head_dim > kMaxHeadDim) {
    reader.Fail("head_dim", absl::StrCat("must be even and within 2..", kMaxHeadDim, ", found ", head_dim));
  }
  config.head_dim = head_dim;
}

void ReadRope(ConfigReader& reader, double default_theta, ModelConfig& config, HeadRotation rotation) {
  RopeConfig& rope = config.ropes.front();
  rope.theta = reader.Number("rope_theta", default_theta, 1.0, kMaxTheta);
  ReadRotatedPart(reader, {.rotation = rotation}, config, rope);
  const json* parameters = reader.Find("rope_parameters");
  const json* scaling = reader.Find("rope_scaling");
  if (parameters != nullptr && scaling != nullptr && *parameters != *scaling) {
    reader.Fail("rope_scaling", "contradicts rope_parameters");
  }
  const std::string key = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  const json* object = parameters != nullptr ? parameters : scaling;
  if (object == nullptr) return;
  if (!object->is_object()) {
    reader.Fail(key, absl::StrCat("must be an object or null, found ", DescribeJson(*object)));
    return;
  }
  ConfigReader nested(*object, absl::StrCat(key, "."));
  if (parameters == nullptr && nested.Find("rope_type") == nullptr && nested.Find("type") == nullptr) {
    nested.Fail("rope_type", "is required");
  }
  const double outer_theta = rope.theta;
  const RopeDefaults outer = {
      .theta = outer_theta,
      .rotated_part = reader.Number("partial_rotary_factor", 1.0, 0.0, 1.0),
      .original_max_position = reader.Int("original_max_position_embeddings", 0, 2, kMaxPosition),
      .rotation = rotation};
  ReadRopeParameters(nested, outer, config, rope);
  if (reader.Find("rope_theta") != nullptr && rope.theta != outer_theta) {
    nested.Fail("rope_theta", "contradicts the top-level rope_theta");
  }
  reader.Adopt(nested.status());
}

void ReadRopeParameters(ConfigReader& parameters, const RopeDefaults& defaults, const ModelConfig& config,
                        RopeConfig& rope) {
  rope.theta = parameters.Number("rope_theta", defaults.theta, 1.0, kMaxTheta);
  ReadRotatedPart(parameters, defaults, config, rope);
  ReadRopeScaling(parameters, ReadRopeType(parameters), defaults, config, rope);
}

void ReadCommon(ConfigReader& reader, const CommonDefaults& defaults, ModelConfig& config) {
  config.rms_norm_eps = static_cast<float>(reader.Number("rms_norm_eps", defaults.rms_norm_eps, 1e-12, 0.1));
  config.tied_embeddings = reader.Bool("tie_word_embeddings", defaults.tied_embeddings);
}

int64_t ReadWindow(ConfigReader& reader, int64_t fallback) {
  return reader.Int("sliding_window", fallback, 1, kMaxPosition);
}

void ReadLayerWindows(ConfigReader& reader, int64_t window, absl::FunctionRef<bool(int layer)> has_window,
                      ModelConfig& config) {
  const json* types = reader.Find("layer_types");
  const auto layers = static_cast<size_t>(config.num_layers);
  if (types != nullptr && (!types->is_array() || types->size() != layers)) {
    reader.Fail("layer_types", absl::StrCat("must be a list of ", layers, " names"));
    return;
  }
  if (window == 0) return;
  config.layers.resize(layers);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    bool windowed = has_window(layer);
    if (types != nullptr) {
      const json& type = (*types)[layer];
      windowed = type == "sliding_attention";
      if (!windowed && type != "full_attention") {
        reader.FailUnsupported("layer_types", absl::StrCat(DescribeJson(type),
                                                           " is not supported; supported are "
                                                           "full_attention and sliding_attention"));
      }
    }
    if (windowed) config.layers[layer].window = window;
  }
}

void ReadQwenWindows(ConfigReader& reader, ModelConfig& config) {
  const int64_t window = ReadWindow(reader, 4096);
  const bool used = reader.Bool("use_sliding_window", false);
  const int64_t first = reader.Int("max_window_layers", 28, 0, std::numeric_limits<int32_t>::max());
  ReadLayerWindows(
      reader, used ? window : 0, [first](int layer) { return layer >= first; }, config);
}

void RequireActivation(ConfigReader& reader, std::string_view key, Activation activation,
                       ModelConfig& config) {
  const std::string wanted = activation == Activation::kSilu ? "silu" : "gelu_pytorch_tanh";
  const std::string found = reader.String(key, wanted);
  if (found != wanted) {
    reader.FailUnsupported(key,
                           absl::StrCat(DescribeJson(found), " is not supported; supported is ", wanted));
  }
  config.activation = activation;
}

float ReadSoftCap(ConfigReader& reader, std::string_view key, float fallback) {
  return reader.IsNull(key) ? 0.0f : static_cast<float>(reader.Number(key, fallback, 1e-3, 1e6));
}

void RefuseAttentionBias(ConfigReader& reader) {
  if (reader.Bool("attention_bias", false)) {
    reader.FailUnsupported("attention_bias", "a bias on the attention's output projection is not supported");
  }
}

void RefuseMlpBias(ConfigReader& reader) {
  if (reader.Bool("mlp_bias", false)) {
    reader.FailUnsupported("mlp_bias", "biases in the feed-forward layers are not supported");
  }
}

}  // namespace memgate
