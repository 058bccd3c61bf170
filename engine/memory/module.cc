#include "engine/memory/module.h"

#include <fstream>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/json_util.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/memory/infini.h"
#include "engine/memory/retention.h"
#include "nlohmann/json.hpp"

namespace memgate {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "memgate-memory";
constexpr int kVersion = 1;
constexpr int64_t kMaxDimension = int64_t{1} << 24;
constexpr size_t kMaxConfigBytes = size_t{1} << 20;
constexpr int kMaxConfigDepth = 16;

// Reads `key` as an integer in [low, high].
absl::Status ReadInt(const Json& json, const char* key, int64_t low, int64_t high, int32_t& out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number_integer()) {
    return absl::InvalidArgumentError(Concat("'", key, "' must be an integer"));
  }
  const int64_t value = it->get<int64_t>();
  // Numbers past the signed range are stored as unsigned.
  const bool huge = it->is_number_unsigned() && it->get<uint64_t>() > static_cast<uint64_t>(high);
  if (huge || value < low || value > high) {
    return absl::InvalidArgumentError(
        Concat("'", key, "' is ", it->dump(), "; it must be in [", low, ", ", high, "]"));
  }
  out = static_cast<int32_t>(value);
  return absl::OkStatus();
}

absl::Status ReadString(const Json& json, const char* key, std::string& out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_string()) {
    return absl::InvalidArgumentError(Concat("'", key, "' must be a string"));
  }
  out = it->get<std::string>();
  return absl::OkStatus();
}

absl::Status CheckFits(const MemoryModuleConfig& module, const ModelConfig& base,
                       std::string_view base_fingerprint) {
  const std::pair<const char*, std::pair<int, int>> shapes[] = {
      {"num_layers", {module.num_layers, base.num_layers}},
      {"hidden_size", {module.hidden_size, base.hidden_size}},
      {"num_kv_heads", {module.num_kv_heads, base.num_kv_heads}},
      {"head_dim", {module.head_dim, base.head_dim}},
  };
  for (const auto& [name, values] : shapes) {
    if (values.first != values.second) {
      return absl::FailedPreconditionError(Concat("the memory module was made for ", name, " ", values.first,
                                                  ", the model has ", values.second));
    }
  }
  if (module.base_fingerprint != base_fingerprint) {
    return absl::FailedPreconditionError(
        Concat("the memory module was trained on another model: base_fingerprint is ",
               module.base_fingerprint, ", the model's is ", base_fingerprint));
  }
  return absl::OkStatus();
}

// Appends layers.{i}.{suffix} of every layer.
absl::StatusOr<std::vector<float>> ReadLayers(const TensorSource& tensors, int num_layers,
                                              std::string_view suffix, std::vector<int64_t> shape) {
  int64_t per_layer = 1;
  for (int64_t n : shape) per_layer *= n;
  std::vector<float> all(num_layers * per_layer);
  for (int l = 0; l < num_layers; ++l) {
    auto view = FindShaped(tensors, Concat("layers.", l, ".", suffix), shape);
    if (!view.ok()) return view.status();
    ToFloat(*view, absl::MakeSpan(all).subspan(l * per_layer, per_layer));
  }
  return all;
}

absl::StatusOr<std::unique_ptr<MemoryKind>> MakeKind(const MemoryModuleConfig& module,
                                                     const ModelConfig& base, const TensorSource& tensors) {
  if (module.kind == "memgate") {
    auto weight =
        ReadLayers(tensors, base.num_layers, "retention.weight", {base.num_kv_heads, base.hidden_size});
    if (!weight.ok()) return weight.status();
    auto bias = ReadLayers(tensors, base.num_layers, "retention.bias", {base.num_kv_heads});
    if (!bias.ok()) return bias.status();
    return MakeRetentionKind(base, {*std::move(weight), *std::move(bias)});
  }
  if (module.kind == "infini" || module.kind == "infini-delta") {
    auto gates = ReadLayers(tensors, base.num_layers, "infini.beta", {base.num_heads});
    if (!gates.ok()) return gates.status();
    const InfiniRule rule = module.kind == "infini" ? InfiniRule::kLinear : InfiniRule::kDelta;
    return MakeInfiniKind(base, rule, *std::move(gates));
  }
  return absl::UnimplementedError(
      Concat("memory kind '", module.kind, "' is not supported; known: memgate, infini, infini-delta"));
}

absl::Status WithPath(const absl::Status& status, const std::string& path) {
  return absl::Status(status.code(), Concat(path, ": ", status.message()));
}

}  // namespace

absl::StatusOr<MemoryModuleConfig> ParseMemoryModuleConfig(std::string_view text) {
  const absl::StatusOr<Json> parsed = ParseJsonObject(text, kMaxConfigDepth);
  if (!parsed.ok()) return parsed.status();
  const Json& json = *parsed;
  MemoryModuleConfig config;
  std::string format;
  int32_t version = 0;
  if (auto s = ReadString(json, "format", format); !s.ok()) return s;
  if (format != kFormat) return absl::InvalidArgumentError(Concat("'format' must be '", kFormat, "'"));
  if (auto s = ReadInt(json, "version", 1, kVersion, version); !s.ok()) return s;
  if (auto s = ReadString(json, "kind", config.kind); !s.ok()) return s;
  if (auto s = ReadString(json, "base_fingerprint", config.base_fingerprint); !s.ok()) return s;
  const std::pair<const char*, int32_t*> dimensions[] = {
      {"num_layers", &config.num_layers},       {"hidden_size", &config.hidden_size},
      {"num_kv_heads", &config.num_kv_heads},   {"head_dim", &config.head_dim},
      {"window_tokens", &config.window_tokens}, {"segment_tokens", &config.segment_tokens}};
  for (const auto& [key, out] : dimensions) {
    if (auto s = ReadInt(json, key, 1, kMaxDimension, *out); !s.ok()) return s;
  }
  if (auto s = ReadInt(json, "sink_tokens", 0, kMaxDimension, config.sink_tokens); !s.ok()) return s;
  if (auto s = ReadInt(json, "salient_tokens", 0, kMaxDimension, config.salient_tokens); !s.ok()) return s;
  return config;
}

absl::StatusOr<MemoryModule> LoadMemoryModule(const std::string& folder, const ModelConfig& base,
                                              std::string_view base_fingerprint) {
  const std::string path = Concat(folder, "/memory.json");
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(Concat(path, ": cannot be opened"));
  std::string text(kMaxConfigBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxConfigBytes) return absl::InvalidArgumentError(Concat(path, ": larger than 1 MiB"));

  MemoryModule module;
  auto config = ParseMemoryModuleConfig(text);
  if (!config.ok()) return WithPath(config.status(), path);
  module.config = *std::move(config);
  if (auto s = CheckFits(module.config, base, base_fingerprint); !s.ok()) return WithPath(s, path);
  auto tensors = OpenSafetensorsFile(Concat(folder, "/memory.safetensors"));
  if (!tensors.ok()) return tensors.status();
  auto kind = MakeKind(module.config, base, **tensors);
  if (!kind.ok()) return WithPath(kind.status(), folder);
  module.kind = *std::move(kind);
  auto fingerprint = Fingerprint(**tensors);
  if (!fingerprint.ok()) return fingerprint.status();
  module.fingerprint = *std::move(fingerprint);
  return module;
}

}  // namespace memgate
