#include "engine/memory/module.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/json_util.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/memory/ahn.h"
#include "engine/memory/kind_table.h"
#include "nlohmann/json.hpp"

namespace memgate {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "memgate-memory";
constexpr int kVersion = 1;
constexpr int64_t kMaxDimension = int64_t{1} << 24;
constexpr size_t kMaxNameBytes = 64;
// Of the one variant that modules have (memgate.h).
constexpr std::string_view kSlotsSuffix = "-slots";

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

// 1 to 64 lower case letters, digits and dashes, beginning with a letter; no name of another kind or a
// variant.
absl::Status CheckName(const MemoryModuleConfig& config) {
  const std::string& name = config.name;
  const auto allowed = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; };
  if (name.empty() || name.size() > kMaxNameBytes || !absl::ascii_islower(name[0]) ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    return absl::InvalidArgumentError(Concat("'name' must be a lower case letter and up to ",
                                             kMaxNameBytes - 1, " lower case letters, digits and dashes"));
  }
  if (name != config.kind && FindMemoryKind(name) != nullptr) {
    return absl::InvalidArgumentError(
        Concat("'name' is '", name, "', which is another kind; this module's is '", config.kind, "'"));
  }
  if (name.ends_with(kSlotsSuffix)) {
    return absl::InvalidArgumentError(
        Concat("'name' ends in '", kSlotsSuffix, "', which names variants of modules"));
  }
  return absl::OkStatus();
}

absl::Status CheckShapes(const MemoryModuleConfig& module, const ModelConfig& base) {
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
  return absl::OkStatus();
}

// Of a module that names its base.
absl::StatusOr<BaseMatch> MatchBase(const MemoryModuleConfig& module, const ModuleBase& base) {
  if (auto s = CheckShapes(module, base.config); !s.ok()) return s;
  if (!base.fingerprint.empty() && module.base_fingerprint == base.fingerprint) return BaseMatch::kTensors;
  if (!base.norms.empty() && module.base_norms == base.norms) return BaseMatch::kNorms;
  if (base.rule == BaseRule::kAny) return BaseMatch::kOther;
  const auto or_none = [](std::string_view text) { return text.empty() ? std::string_view("none") : text; };
  return absl::FailedPreconditionError(
      Concat("the memory module was trained on another model: base_fingerprint is ", module.base_fingerprint,
             ", the model's is ", base.fingerprint, "; base_norms is ", or_none(module.base_norms),
             ", the model's is ", or_none(base.norms), "; with memory base 'any' it is used all the same"));
}

absl::Status WithPath(const absl::Status& status, const std::string& path) {
  return absl::Status(status.code(), Concat(path, ": ", status.message()));
}

// Variants keep their suffix: `memgate-slots` of a module `notes` is `notes-slots`.
void RenameAll(const MemoryModuleConfig& config, MemoryKinds& kinds) {
  for (const auto& kind : kinds) {
    kind->Rename(Concat(config.name, kind->name().substr(config.kind.size())));
  }
}

absl::StatusOr<MemoryKinds> MakeKinds(const ModuleContents& module) {
  const MemoryKindRow* row = FindMemoryKind(module.config.kind);
  if (row != nullptr && row->load != nullptr) {
    auto kinds = row->load(module);
    if (kinds.ok() && !module.config.name.empty()) RenameAll(module.config, *kinds);
    return kinds;
  }
  return absl::UnimplementedError(
      Concat("memory kind '", module.config.kind, "' is not supported; known: ", LoadableKindNames()));
}

// What of memory.json decides, beside the tensors, what a session's state means.
std::vector<std::pair<std::string, std::string>> Settings(const MemoryModuleConfig& config) {
  std::vector<std::pair<std::string, std::string>> settings = {{"kind", config.kind}};
  for (const std::string_view key : FindMemoryKind(config.kind)->options) {
    settings.emplace_back(key, config.Option(key, ""));
  }
  return settings;
}

absl::StatusOr<MemoryModule> MakeModule(const std::string& folder, MemoryModuleConfig config,
                                        const ModelConfig& base, const TensorSource& tensors) {
  MemoryModule module;
  module.config = std::move(config);
  auto kinds = MakeKinds({module.config, base, tensors});
  if (!kinds.ok()) return WithPath(kinds.status(), folder);
  module.variants = *std::move(kinds);
  module.kind = std::move(module.variants.front());
  module.variants.erase(module.variants.begin());
  auto fingerprint = Fingerprint(tensors, Settings(module.config));
  if (!fingerprint.ok()) return fingerprint.status();
  module.fingerprint = *std::move(fingerprint);
  return module;
}

bool HasOwnConfig(const std::string& folder) {
  std::error_code error;
  return std::filesystem::exists(Concat(folder, "/memory.json"), error);
}

// Whether `folder` is a module as the authors of AHN publish it, and has no memory.json beside.
bool IsPublished(const std::string& folder) {
  if (HasOwnConfig(folder)) return false;
  const auto file = MappedFile::Open(Concat(folder, "/config.json"));
  return file.ok() && IsPublishedAhnConfig(file->text());
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenModuleTensors(const std::string& folder) {
  if (IsPublished(folder)) return OpenSafetensorsFolder(folder);
  return OpenSafetensorsFile(Concat(folder, "/memory.safetensors"));
}

}  // namespace

absl::StatusOr<MemoryModuleConfig> ParseMemoryModuleConfig(std::string_view text) {
  const absl::StatusOr<Json> parsed = ParseJsonObject(text, kConfigLimits);
  if (!parsed.ok()) return parsed.status();
  const Json& json = *parsed;
  MemoryModuleConfig config;
  std::string format;
  int32_t version = 0;
  if (auto s = ReadString(json, "format", format); !s.ok()) return s;
  if (format != kFormat) return absl::InvalidArgumentError(Concat("'format' must be '", kFormat, "'"));
  if (auto s = ReadInt(json, "version", 1, kVersion, version); !s.ok()) return s;
  if (auto s = ReadString(json, "kind", config.kind); !s.ok()) return s;
  if (json.contains("name")) {
    if (auto s = ReadString(json, "name", config.name); !s.ok()) return s;
    if (auto s = CheckName(config); !s.ok()) return s;
  }
  if (auto s = ReadString(json, "base_fingerprint", config.base_fingerprint); !s.ok()) return s;
  if (json.contains("base_norms")) {
    if (auto s = ReadString(json, "base_norms", config.base_norms); !s.ok()) return s;
  }
  const std::pair<const char*, int32_t*> dimensions[] = {
      {"num_layers", &config.num_layers},       {"hidden_size", &config.hidden_size},
      {"num_kv_heads", &config.num_kv_heads},   {"head_dim", &config.head_dim},
      {"window_tokens", &config.window_tokens}, {"segment_tokens", &config.segment_tokens}};
  for (const auto& [key, out] : dimensions) {
    if (auto s = ReadInt(json, key, 1, kMaxDimension, *out); !s.ok()) return s;
  }
  if (auto s = ReadInt(json, "sink_tokens", 0, kMaxDimension, config.sink_tokens); !s.ok()) return s;
  if (auto s = ReadInt(json, "salient_tokens", 0, kMaxDimension, config.salient_tokens); !s.ok()) return s;
  for (const auto& [key, value] : json.items()) {
    if (value.is_string()) {
      config.options[key] = value.get<std::string>();
    } else if (value.is_boolean()) {
      config.options[key] = value.get<bool>() ? "true" : "false";
    } else if (!value.is_number_integer()) {
      return absl::InvalidArgumentError(Concat("'", key, "' must be a string, a boolean or an integer"));
    }
  }
  return config;
}

absl::StatusOr<MemoryModuleConfig> ReadMemoryModuleConfig(const std::string& folder,
                                                          const ModelConfig& base) {
  const bool published = IsPublished(folder);
  const std::string path = Concat(folder, published ? "/config.json" : "/memory.json");
  const auto file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  auto config =
      published ? ParsePublishedAhnConfig(file->text(), base) : ParseMemoryModuleConfig(file->text());
  if (!config.ok()) return WithPath(config.status(), path);
  return config;
}

std::string_view BaseMatchName(BaseMatch match) {
  switch (match) {
    case BaseMatch::kUnnamed:
      return "unnamed";
    case BaseMatch::kTensors:
      return "same tensors";
    case BaseMatch::kNorms:
      return "same norms";
    case BaseMatch::kOther:
      return "another model";
  }
  return "";
}

bool IsMemoryModuleFolder(const std::string& folder) { return HasOwnConfig(folder) || IsPublished(folder); }

absl::StatusOr<int64_t> MemoryModuleBytes(const std::string& folder) {
  const bool published = IsPublished(folder);
  const auto tensors = OpenModuleTensors(folder);
  if (!tensors.ok()) return tensors.status();
  int64_t elements = 0;
  for (const std::string& name : (*tensors)->Names()) {
    // A published module may be merged with its base.
    if (published && !IsPublishedAhnTensor(name)) continue;
    const auto view = (*tensors)->Find(name);
    if (view.ok()) elements += view->elements();
  }
  return elements * int64_t{sizeof(float)};
}

absl::StatusOr<MemoryModule> LoadMemoryModule(const std::string& folder, const ModuleBase& base) {
  auto config = ReadMemoryModuleConfig(folder, base.config);
  if (!config.ok()) return config.status();
  // A published module is a Hugging Face folder of its own; merged with its base, it is the model's. It does
  // not say which base it was trained for, and its shapes were checked while it was read.
  absl::StatusOr<BaseMatch> match = BaseMatch::kUnnamed;
  if (!IsPublished(folder)) match = MatchBase(*config, base);
  if (!match.ok()) return WithPath(match.status(), Concat(folder, "/memory.json"));
  const auto tensors = OpenModuleTensors(folder);
  if (!tensors.ok()) return tensors.status();
  auto module = MakeModule(folder, *std::move(config), base.config, **tensors);
  if (module.ok()) module->base = *match;
  return module;
}

}  // namespace memgate
