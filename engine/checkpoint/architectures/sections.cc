#include "engine/checkpoint/architectures/sections.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

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
constexpr int kMaxHeadDim = 1024;
constexpr int kMaxIntermediateSize = 1 << 20;
constexpr int kMaxVocabSize = 1 << 22;

// "type" is the older spelling of "rope_type"; some files carry both.
std::string ReadRopeType(ConfigReader& reader, std::string_view absent) {
  const std::string type = reader.String("rope_type", reader.String("type", std::string(absent)));
  if (reader.String("type", type) != type) reader.Fail("type", "contradicts rope_type");
  return type;
}

void ReadRopeScaling(ConfigReader& reader, const std::string& type, RopeConfig& rope) {
  if (type == "default") return;
  if (type == "linear") {
    rope.linear_factor = reader.RequiredNumber("factor", 1.0, 1e6);
    return;
  }
  if (type == "llama3") {
    Llama3RopeScaling scaling;
    scaling.factor = reader.RequiredNumber("factor", 1.0, 1e6);
    scaling.low_freq_factor = reader.RequiredNumber("low_freq_factor", 1e-6, 1e6);
    scaling.high_freq_factor = reader.RequiredNumber("high_freq_factor", 1e-6, 1e6);
    scaling.original_max_position = reader.RequiredInt("original_max_position_embeddings", 1, kMaxPosition);
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      reader.Fail("high_freq_factor", "must be above low_freq_factor");
    }
    rope.llama3 = scaling;
    return;
  }
  if (type.empty()) {
    reader.Fail("rope_type", "is required");
    return;
  }
  reader.FailUnsupported(
      "rope_type",
      absl::StrCat(DescribeJson(type), " is not supported; supported are default, linear and llama3"));
}

}  // namespace

void ReadDimensions(ConfigReader& reader, const DimensionDefaults& defaults, ModelConfig& config) {
  config.num_layers = static_cast<int>(reader.RequiredInt("num_hidden_layers", 1, kMaxLayers));
  config.hidden_size = static_cast<int>(reader.RequiredInt("hidden_size", 1, kMaxHiddenSize));
  config.num_heads = static_cast<int>(reader.RequiredInt("num_attention_heads", 1, kMaxHeads));
  config.intermediate_size =
      static_cast<int>(reader.RequiredInt("intermediate_size", 1, kMaxIntermediateSize));
  config.vocab_size = static_cast<int>(reader.RequiredInt("vocab_size", 1, kMaxVocabSize));
  config.max_position = reader.RequiredInt("max_position_embeddings", 1, kMaxPosition);

  config.num_kv_heads = static_cast<int>(reader.Int("num_key_value_heads", config.num_heads, 1, kMaxHeads));
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

void ReadRope(ConfigReader& reader, RopeConfig& rope) {
  constexpr double kMaxTheta = 1e15;
  rope.theta = reader.Number("rope_theta", 10000.0, 1.0, kMaxTheta);
  const json* parameters = reader.Find("rope_parameters");
  const json* scaling = reader.Find("rope_scaling");
  if (parameters != nullptr && scaling != nullptr && *parameters != *scaling) {
    reader.Fail("rope_scaling", "contradicts rope_parameters");
  }
  const std::string key = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  const json* object = parameters != nullptr ? parameters : scaling;
  if (object != nullptr && !object->is_object()) {
    reader.Fail(key, absl::StrCat("must be an object or null, found ", DescribeJson(*object)));
    return;
  }
  if (object != nullptr) {
    ConfigReader nested(*object, absl::StrCat(key, "."));
    const double theta = nested.Number("rope_theta", rope.theta, 1.0, kMaxTheta);
    if (reader.Find("rope_theta") != nullptr && theta != rope.theta) {
      nested.Fail("rope_theta", "contradicts the top-level rope_theta");
    }
    rope.theta = theta;
    if (nested.Number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0) {
      nested.FailUnsupported("partial_rotary_factor", "rotating a part of the head is not supported");
    }
    ReadRopeScaling(nested, ReadRopeType(nested, parameters != nullptr ? "default" : ""), rope);
    reader.Adopt(nested.status());
  }
  if (reader.Number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0) {
    reader.FailUnsupported("partial_rotary_factor", "rotating a part of the head is not supported");
  }
}

void ReadCommon(ConfigReader& reader, ModelConfig& config) {
  config.rms_norm_eps = static_cast<float>(reader.Number("rms_norm_eps", 1e-6, 1e-12, 0.1));
  config.tied_embeddings = reader.Bool("tie_word_embeddings", false);
}

int64_t ReadSlidingWindow(ConfigReader& reader) { return reader.Int("sliding_window", 0, 1, kMaxPosition); }

int64_t ReadQwenSlidingWindow(ConfigReader& reader, const ModelConfig& config) {
  const int64_t window = ReadSlidingWindow(reader);
  if (!reader.Bool("use_sliding_window", false)) return 0;
  // Layers below max_window_layers (28 unless given) see everything, the others only the window. Where
  // some layers have a window, the shortest view counts: beyond it the model is not plain causal
  // attention.
  const int64_t first = reader.Int("max_window_layers", 28, 0, std::numeric_limits<int32_t>::max());
  if (first >= config.num_layers) return 0;
  return window == 0 ? 4096 : window;
}

void RequireSilu(ConfigReader& reader, std::string_view key) {
  const std::string activation = reader.String(key, "silu");
  if (activation != "silu") {
    reader.FailUnsupported(key,
                           absl::StrCat(DescribeJson(activation), " is not supported; supported is silu"));
  }
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
