// config.json and generation_config.json. Keys and their defaults are those of the Transformers library's
// configuration classes; what an architecture reads is in architectures/.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/config_reader.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/json_util.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr size_t kMaxEosIds = 64;

// Null if the file names none that is supported; the reader then says so.
const Architecture* ReadArchitecture(ConfigReader& reader) {
  const json* list = reader.Find("architectures");
  if (list == nullptr || !list->is_array() || list->size() != 1 || !list->front().is_string()) {
    reader.Fail("architectures", "must be a list of one name");
    return nullptr;
  }
  const std::string name = list->front().get<std::string>();
  std::vector<std::string> supported;
  for (const Architecture* known : ArchitectureTable()) {
    if (known->name == name) return known;
    supported.emplace_back(known->name);
  }
  reader.FailUnsupported(
      "architectures",
      absl::StrCat(DescribeJson(name), " is not supported; supported are ", absl::StrJoin(supported, ", ")));
  return nullptr;
}

void RefuseQuantised(ConfigReader& reader) {
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

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view text,
                                             absl::FunctionRef<bool(const std::string&)> has_tensor) {
  const absl::StatusOr<json> object = ParseJsonObject(text, kConfigLimits);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object);
  ModelConfig config;
  const Architecture* architecture = ReadArchitecture(reader);
  if (architecture == nullptr) return reader.status();
  config.architecture = std::string(architecture->name);
  RefuseQuantised(reader);
  architecture->read(reader, config);
  NameTensors(*architecture, has_tensor, config);
  if (!reader.status().ok()) return reader.status();
  return config;
}

absl::StatusOr<GenerationDefaults> ParseGenerationDefaults(std::string_view text) {
  const absl::StatusOr<json> object = ParseJsonObject(text, kConfigLimits);
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
  const absl::StatusOr<json> object = ParseJsonObject(text, kConfigLimits);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object);
  std::vector<int32_t> ids = reader.Ids("eos_token_id", kMaxEosIds);
  if (!reader.status().ok()) return reader.status();
  return ids;
}

}  // namespace memgate
