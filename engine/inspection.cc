#include "engine/inspection.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/algorithm/container.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/gguf_config.h"
#include "engine/checkpoint/gguf_metadata.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/json_util.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/kind_registry.h"
#include "engine/loaded_model.h"
#include "engine/memory/module.h"
#include "engine/model/weights.h"
#include "engine/session/session_state.h"
#include "engine/text/chat_templates.h"
#include "engine/text/json_reading.h"
#include "engine/text/strings.h"
#include "engine/text/tokenizer.h"
#include "engine/weight_choice.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr WeightFormat kWeightFormats[] = {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8,
                                           WeightFormat::kInt4};

std::string Text(const absl::Status& status) { return std::string(status.message()); }

// A JSON file of a folder; null if there is none that can be read. `parse` is a ParseJsonObject.
template <typename Parse>
json ReadJson(const std::string& path, Parse parse) {
  const auto file = MappedFile::Open(path);
  if (!file.ok()) return nullptr;
  absl::StatusOr<json> object = parse(file->text());
  return object.ok() ? *std::move(object) : json(nullptr);
}

json ReadConfig(const std::string& path) {
  return ReadJson(path, [](std::string_view text) { return ParseJsonObject(text, kConfigLimits); });
}

json ReadTokenizerFile(const std::string& path) {
  return ReadJson(path, [](std::string_view text) { return ParseJsonObject(text, "tokenizer.json"); });
}

// A string in nested objects; empty if it is not there.
std::string StringAt(const json& object, const std::string& pointer) {
  const json::json_pointer at(pointer);
  return object.is_object() && object.contains(at) && object[at].is_string() ? object[at].get<std::string>()
                                                                             : std::string();
}

class TypeCounter {
 public:
  void Add(std::string_view type, int64_t bytes, bool readable) {
    TensorTypeSummary& summary = types_[std::string(type)];
    summary.type = std::string(type);
    summary.readable = readable;
    summary.bytes += bytes;
    ++summary.tensors;
  }

  void AddAll(const TensorSource& source) {
    for (const std::string& name : source.Names()) {
      if (const auto view = source.Find(name); view.ok()) {
        Add(DTypeName(view->dtype), static_cast<int64_t>(view->bytes), /*readable=*/true);
      }
    }
    for (const auto& [name, type] : source.Unsupported()) Add(type, 0, /*readable=*/false);
  }

  // Those of most bytes first.
  std::vector<TensorTypeSummary> Sorted() const {
    std::vector<TensorTypeSummary> types;
    for (const auto& [name, summary] : types_) types.push_back(summary);
    std::stable_sort(types.begin(), types.end(),
                     [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
    return types;
  }

 private:
  std::map<std::string, TensorTypeSummary> types_;
};

// What every format of keys and values makes of something.
template <typename Bytes>
std::vector<SessionCost> InEveryKvFormat(const Bytes& bytes) {
  std::vector<SessionCost> costs;
  for (const KvFormat format : kKvFormats) costs.push_back({format, bytes(format)});
  return costs;
}

SessionShape ShapeOf(const MemoryModuleConfig& config) {
  return {config.sink_tokens, config.window_tokens, config.segment_tokens, config.salient_tokens};
}

// Fills an Inspection part by part.
class Inspector {
 public:
  Inspector(const std::string& path, const InspectionOptions& options)
      : is_folder_(CheckpointFolder(path) == path), options_(options) {
    result_.path = path;
  }

  Inspection Model() && {
    if (is_folder_) {
      DescribeFolder();
    } else {
      DescribeGguf();
    }
    auto checkpoint = OpenCheckpoint(result_.path);
    Note(checkpoint.status());
    DescribeTokenizer(checkpoint.ok() ? checkpoint->vocabulary : vocabulary_);
    if (checkpoint.ok()) DescribeModel(*checkpoint);
    return std::move(result_);
  }

  Inspection Module() && {
    result_.format = kMemoryModuleFormat;
    const json config = ReadConfig(result_.path + "/config.json");
    // What a published module leaves out is that of the model whose config.json it repeats.
    const auto base = ParseModelConfig(config.is_object() ? config.dump() : "{}");
    AddModule(result_.path, base.ok() ? *base : ModelConfig());
    TypeCounter types;
    auto tensors = OpenSafetensorsFile(result_.path + "/memory.safetensors");
    if (absl::IsNotFound(tensors.status())) tensors = OpenSafetensorsFolder(result_.path);
    Note(tensors.status());
    if (tensors.ok()) types.AddAll(**tensors);
    result_.types = types.Sorted();
    return std::move(result_);
  }

 private:
  void Note(const absl::Status& status) {
    if (!status.ok()) result_.obstacles.push_back(Text(status));
  }

  void DescribeFolder() {
    result_.format = "Hugging Face folder";
    result_.architecture = StringAt(ReadConfig(result_.path + "/config.json"), "/architectures/0");
    TypeCounter types;
    if (const auto tensors = OpenSafetensorsFolder(result_.path); tensors.ok()) types.AddAll(**tensors);
    result_.types = types.Sorted();
  }

  // What can be told of a file whose architecture may be unknown.
  void DescribeGguf() {
    result_.format = "GGUF";
    const auto mapped = MappedFile::Open(result_.path);
    if (!mapped.ok()) return;  // OpenCheckpoint says why
    const auto file = ParseGguf(mapped->bytes());
    if (!file.ok()) return;
    result_.format = Concat("GGUF ", file->version);
    GgufMetadata metadata(*file);
    result_.architecture = metadata.String("general.architecture").value_or("");
    TypeCounter types;
    for (const GgufTensor& tensor : file->tensors) {
      types.Add(tensor.type_name, static_cast<int64_t>(tensor.bytes), tensor.dtype.has_value());
    }
    result_.types = types.Sorted();
    if (auto vocabulary = ReadGgufVocabulary(*file); vocabulary.ok()) vocabulary_ = *std::move(vocabulary);
  }

  void DescribeTokenizer(const std::optional<GgufVocabulary>& vocabulary) {
    if (!is_folder_ && !vocabulary) return;  // what is wrong with the file was noted
    const auto tokenizer = OpenTokenizer(result_.path, vocabulary);
    if (!tokenizer.ok()) return Note(tokenizer.status());
    result_.tokenizer = is_folder_
                            ? StringAt(ReadTokenizerFile(result_.path + "/tokenizer.json"), "/model/type")
                            : vocabulary->model;
    if (!is_folder_ && !vocabulary->pre.empty()) result_.tokenizer += Concat(", ", vocabulary->pre);
    if (result_.tokenizer.empty()) result_.tokenizer = "SentencePiece";
    result_.vocabulary_size = (*tokenizer)->vocab_size();
    DescribeTemplates((*tokenizer)->chat_templates());
  }

  void DescribeTemplates(const std::map<std::string, std::string>& templates) {
    result_.has_chat_template = templates.contains(kDefaultTemplate);
    for (const auto& [name, source] : templates) {
      const std::string what =
          name == kDefaultTemplate ? "the chat template" : Concat("the chat template ", Quoted(name));
      if (!ChatTemplates::Uses(name)) {
        result_.remarks.push_back(Concat(what, " is not used"));
      } else if (const auto compiled = ChatTemplate::Compile(source); !compiled.ok()) {
        result_.remarks.push_back(Concat(what, " cannot be used: ", Text(compiled.status())));
      }
    }
  }

  void DescribeModel(const Checkpoint& checkpoint) {
    const ModelConfig& config = checkpoint.config;
    result_.config = config;
    result_.architecture = config.architecture;
    Note(CheckVocabulary(result_.path, result_.vocabulary_size, config));
    const auto weights = CheckWeights(config, *checkpoint.tensors);
    Note(weights.status());
    if (weights.ok()) {
      result_.parameters = weights->parameters;
      result_.norms_fingerprint = weights->norms_fingerprint;
    }
    for (const WeightFormat format : kWeightFormats) {
      result_.weights.push_back({format, PackedWeightBytes(config, format)});
    }
    result_.default_weights = ChooseWeights(config, options_.memory_budget_bytes).format;
    result_.full_kv_per_token =
        InEveryKvFormat([&](KvFormat format) { return FullKvBytes(config, format, 1); });
    DescribeKinds(checkpoint);
  }

  void DescribeKinds(const Checkpoint& checkpoint) {
    const ModulePlace place = ModulePlace::Of(options_.memory_folder, result_.path);
    const auto folders = KindRegistry::ModuleFolders(place);
    if (!folders.ok()) return Note(folders.status());
    for (const std::string& module : *folders) AddModule(module, checkpoint.config);
    if (std::any_of(result_.modules.begin(), result_.modules.end(),
                    [](const ModuleSummary& module) { return !module.base_fingerprint.empty(); })) {
      auto computed = Fingerprint(*checkpoint.tensors);
      if (!computed.ok()) return Note(computed.status());
      result_.fingerprint = *std::move(computed);
    }
    const auto kinds = KindRegistry::Load(
        place, {checkpoint.config, result_.fingerprint, result_.norms_fingerprint, options_.memory_base});
    if (!kinds.ok()) return Note(kinds.status());
    for (const auto& entry : kinds->entries()) AddKind(*entry, checkpoint.config);
    for (const MemoryModuleInfo& module : kinds->modules()) AddBase(module);
  }

  void AddBase(const MemoryModuleInfo& loaded) {
    for (ModuleSummary& module : result_.modules) {
      if (module.folder == loaded.folder) module.base = loaded.base;
    }
    if (loaded.base == BaseMatch::kOther) {
      result_.remarks.push_back(Concat("the memory module in ", loaded.folder,
                                       " was trained on another model; only their shapes were compared"));
    }
  }

  void AddKind(const KindEntry& entry, const ModelConfig& config) {
    KindSummary summary{std::string(entry.kind->name()), entry.kind->trained(), entry.default_shape, {}};
    summary.session = InEveryKvFormat([&](KvFormat format) {
      const SessionContext context{.config = &config, .kind = entry.kind.get(), .kv_format = format};
      return SessionState::Bytes(context, entry.default_shape).total();
    });
    result_.kinds.push_back(std::move(summary));
  }

  // A module that cannot be described is noted when it is loaded; on its own, here.
  void AddModule(const std::string& folder, const ModelConfig& base) {
    const auto config = ReadMemoryModuleConfig(folder, base);
    const auto bytes = MemoryModuleBytes(folder);
    if (!config.ok()) {
      if (folder == result_.path && !result_.config) Note(config.status());
      return;
    }
    result_.modules.push_back({folder, config->kind, config->name.empty() ? config->kind : config->name,
                               ShapeOf(*config), bytes.value_or(0), config->base_fingerprint, std::nullopt});
  }

  const bool is_folder_;
  const InspectionOptions& options_;
  std::optional<GgufVocabulary> vocabulary_;
  Inspection result_;
};

// A published module may be merged with its base, and then is a model, too.
bool IsModuleAlone(const std::string& path) {
  if (!IsMemoryModuleFolder(path)) return false;
  const auto tensors = OpenSafetensorsFolder(path);
  if (!tensors.ok()) return true;
  // Gemma 3 has it in a language model beside one of pictures.
  return absl::c_none_of((*tensors)->Names(),
                         [](const std::string& name) { return name.ends_with("embed_tokens.weight"); });
}

}  // namespace

absl::StatusOr<Inspection> Inspect(const std::string& path, const InspectionOptions& options) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(Concat(path, ": no such file or folder"));
  }
  Inspector inspector(path, options);
  return IsModuleAlone(path) ? std::move(inspector).Module() : std::move(inspector).Model();
}

}  // namespace memgate
