#include "engine/checkpoint/hugging_face.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"

namespace memgate {
namespace {

// The folder's generation defaults, checked against the vocabulary.
absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& folder,
                                                          std::string_view config_text, int vocab_size) {
  std::string path = absl::StrCat(folder, "/generation_config.json");
  GenerationDefaults defaults;
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (file.ok()) {
    absl::StatusOr<GenerationDefaults> parsed = ParseGenerationDefaults(file->text());
    if (!parsed.ok()) return WithPath(path, parsed.status());
    defaults = *std::move(parsed);
  } else if (!absl::IsNotFound(file.status())) {
    return file.status();
  }
  if (defaults.eos_token_ids.empty()) {
    path = absl::StrCat(folder, "/config.json");
    absl::StatusOr<std::vector<int32_t>> ids = ParseEosTokenIds(config_text);
    if (!ids.ok()) return WithPath(path, ids.status());
    defaults.eos_token_ids = *std::move(ids);
  }
  if (auto status = FitToVocabulary(vocab_size, defaults); !status.ok()) return WithPath(path, status);
  return defaults;
}

}  // namespace

absl::StatusOr<Checkpoint> OpenHuggingFaceFolder(const std::string& folder) {
  const std::string config_path = absl::StrCat(folder, "/config.json");
  const absl::StatusOr<MappedFile> config_file = MappedFile::Open(config_path);
  if (!config_file.ok()) return config_file.status();
  // What is wrong with the config is said first; the tensors only tell what they are called.
  absl::StatusOr<std::unique_ptr<TensorSource>> tensors = OpenSafetensorsFolder(folder);
  absl::StatusOr<ModelConfig> config = ParseModelConfig(
      config_file->text(), [&](const std::string& name) { return tensors.ok() && (*tensors)->Has(name); });
  if (!config.ok()) return WithPath(config_path, config.status());

  absl::StatusOr<GenerationDefaults> generation =
      ReadGenerationDefaults(folder, config_file->text(), config->vocab_size);
  if (!generation.ok()) return generation.status();

  if (!tensors.ok()) return tensors.status();
  return Checkpoint{*std::move(config), *std::move(generation), *std::move(tensors), std::nullopt};
}

}  // namespace memgate
