// config.json and generation_config.json. Keys and their defaults are those of the Transformers library's
// configuration classes for the four architectures.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/config_reader.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/json_util.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigBytes = 16'000'000;  // real ones are below 10 kB
constexpr int kMaxConfigDepth = 16;

// Upper limits: several times the largest published models, and small enough that the product of any two
// dimensions times four bytes fits an int64, and H * D an int.
constexpr int kMaxLayers = 1024;
constexpr int kMaxHiddenSize = 1 << 17;
constexpr int kMaxHeads = 1024;
constexpr int kMaxHeadDim = 1024;
constexpr int kMaxIntermediateSize = 1 << 20;
constexpr int kMaxVocabSize = 1 << 22;
constexpr int64_t kMaxPosition = int64_t{1} << 40;
constexpr size_t kMaxEosIds = 64;

enum class Family { kLlama, kMistral, kQwen2, kQwen3 };

struct Architecture {
  std::string_view name;
  Family family;
};

constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", Family::kLlama},
    {"MistralForCausalLM", Family::kMistral},
    {"Qwen2ForCausalLM", Family::kQwen2},
    {"Qwen3ForCausalLM", Family::kQwen3},
};

absl::StatusOr<json> ParseConfigFile(std::string_view text) {
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(absl::StrCat(text.size(), " bytes, at most ", kMaxConfigBytes));
  }
  return ParseJsonObject(text, kMaxConfigDepth);
}

Family ReadArchitecture(ConfigReader& reader, ModelConfig& config) {
  const json* list = reader.Find("architectures");
  if (list == nullptr || !list->is_array() || list->size() != 1 || !list->front().is_string()) {
    reader.Fail("architectures", "must be a list of one name");
    return Family::kLlama;
  }
  config.architecture = list->front().get<std::string>();
  for (const Architecture& known : kArchitectures) {
    if (known.name == config.architecture) return known.family;
  }
  reader.FailUnsupported(
      "architectures", absl::StrCat(DescribeJson(config.architecture),
                                    " is not supported; supported are LlamaForCausalLM, MistralForCausalLM, "
                                    "Qwen2ForCausalLM and Qwen3ForCausalLM"));
  return Family::kLlama;
}

void ReadDimensions(ConfigReader& reader, Family family, ModelConfig& config) {
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

  // Qwen3 fixes the head size where the other families derive it.
  int head_dim = family == Family::kQwen3 ? 128 : config.hidden_size / config.num_heads;
  if (reader.Find("head_dim") == nullptr && family != Family::kQwen3 &&
      config.hidden_size % config.num_heads != 0) {
    reader.Fail("hidden_size", absl::StrCat(config.hidden_size, " is no multiple of num_attention_heads (",
                                            config.num_heads, ") and head_dim is not given"));
  }
  head_dim = static_cast<int>(reader.Int("head_dim", head_dim, 1, kMaxHeadDim));
  if (head_dim % 2 != 0 || head_dim < 2 || head_dim > kMaxHeadDim) {
    reader.Fail("head_dim", absl::StrCat("must be even and within 2..", kMaxHeadDim, ", found ", head_dim));
  }
  config.head_dim = head_dim;
}

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

// RoPE is described by "rope_theta" and "rope_scaling", in newer files by "rope_parameters", which holds
// both.
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

int64_t ReadSlidingWindow(ConfigReader& reader, Family family, int num_layers) {
  const int64_t window = reader.Int("sliding_window", 0, 1, kMaxPosition);
  switch (family) {
    case Family::kLlama:
      return 0;  // the key means nothing there
    case Family::kMistral:
      return window;
    case Family::kQwen2:
    case Family::kQwen3: {
      if (!reader.Bool("use_sliding_window", false)) return 0;
      // Layers below max_window_layers (28 unless given) see everything, the others only the window. Where
      // some layers have a window, the shortest view counts: beyond it the model is not plain causal
      // attention.
      const int64_t first = reader.Int("max_window_layers", 28, 0, std::numeric_limits<int32_t>::max());
      if (first >= num_layers) return 0;
      if (window == 0) return 4096;
      return window;
    }
  }
  return 0;
}

void RefuseUnsupportedFeatures(ConfigReader& reader, Family family) {
  const std::string activation = reader.String("hidden_act", "silu");
  if (activation != "silu") {
    reader.FailUnsupported("hidden_act",
                           absl::StrCat(DescribeJson(activation), " is not supported; supported is silu"));
  }
  // Qwen2 biases q, k and v whatever this key says.
  if (family != Family::kQwen2 && reader.Bool("attention_bias", false)) {
    reader.FailUnsupported("attention_bias", "a bias on the attention's output projection is not supported");
  }
  if (reader.Bool("mlp_bias", false)) {
    reader.FailUnsupported("mlp_bias", "biases in the feed-forward layers are not supported");
  }
  if (const json* quantization = reader.Find("quantization_config")) {
    std::string method;
    if (quantization->is_object() && quantization->contains("quant_method")) {
      method = absl::StrCat(" (quant_method ", DescribeJson((*quantization)["quant_method"]), ")");
    }
    reader.FailUnsupported("quantization_config",
                           absl::StrCat("checkpoints that are already quantised", method,
                                        " are not supported; use the F32, F16 or BF16 weights"));
  }
}

template <typename T>
std::optional<T> OptionalNumber(ConfigReader& reader, std::string_view key, double min, double max) {
  if (reader.Find(key) == nullptr) return std::nullopt;
  return static_cast<T>(reader.Number(key, min, min, max));
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view text) {
  const absl::StatusOr<json> object = ParseConfigFile(text);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object);
  ModelConfig config;
  const Family family = ReadArchitecture(reader, config);
  RefuseUnsupportedFeatures(reader, family);
  ReadDimensions(reader, family, config);
  ReadRope(reader, config.rope);
  config.sliding_window = ReadSlidingWindow(reader, family, config.num_layers);
  config.rms_norm_eps = static_cast<float>(reader.Number("rms_norm_eps", 1e-6, 1e-12, 0.1));
  config.qkv_bias = family == Family::kQwen2;
  config.qk_norm = family == Family::kQwen3;
  config.tied_embeddings = reader.Bool("tie_word_embeddings", false);
  if (!reader.status().ok()) return reader.status();
  return config;
}

absl::StatusOr<GenerationDefaults> ParseGenerationDefaults(std::string_view text) {
  const absl::StatusOr<json> object = ParseConfigFile(text);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object);
  GenerationDefaults defaults;
  defaults.eos_token_ids = reader.Ids("eos_token_id", kMaxEosIds);
  defaults.temperature = OptionalNumber<float>(reader, "temperature", 0, 100);
  if (reader.Find("do_sample") != nullptr) {
    const bool sample = reader.Bool("do_sample", false);
    defaults.temperature = sample ? defaults.temperature.value_or(1.0f) : 0.0f;
  }
  if (reader.Find("top_k") != nullptr) {
    defaults.top_k = static_cast<int>(reader.Int("top_k", 0, 0, std::numeric_limits<int32_t>::max()));
  }
  defaults.top_p = OptionalNumber<float>(reader, "top_p", 1e-6, 1);
  defaults.repetition_penalty = OptionalNumber<float>(reader, "repetition_penalty", 1e-6, 100);
  if (!reader.status().ok()) return reader.status();
  return defaults;
}

absl::StatusOr<std::vector<int32_t>> ParseEosTokenIds(std::string_view text) {
  const absl::StatusOr<json> object = ParseConfigFile(text);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object);
  std::vector<int32_t> ids = reader.Ids("eos_token_id", kMaxEosIds);
  if (!reader.status().ok()) return reader.status();
  return ids;
}

}  // namespace memgate
