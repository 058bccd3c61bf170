#include "engine/text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>
#include <utility>

#include "engine/text/chat_templates.h"
#include "engine/text/gguf_tokenizer_spec.h"
#include "engine/text/pipeline_tokenizer.h"
#include "engine/text/sentencepiece_spec.h"
#include "engine/text/strings.h"
#include "engine/text/tokenizer_json_spec.h"

namespace memgate {
namespace {

constexpr uintmax_t kMaxFileBytes = 256 << 20;
constexpr int kMaxTemplateFiles = 64;  // published models have up to three

// NOT_FOUND if there is no such file.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    return absl::NotFoundError(Concat(path.string(), ": no such file"));
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::InvalidArgumentError(Concat(path.string(), ": not a regular file"));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::InvalidArgumentError(Concat(path.string(), ": ", error.message()));
  if (size > kMaxFileBytes) {
    return absl::InvalidArgumentError(Concat(path.string(), ": ", size, " bytes, more than ", kMaxFileBytes));
  }
  std::string content(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(content.data(), static_cast<std::streamsize>(size))) {
    return absl::InvalidArgumentError(Concat(path.string(), ": cannot be read"));
  }
  return content;
}

absl::Status Prefixed(std::string_view where, const absl::Status& status) {
  return absl::Status(status.code(), Concat(where, status.message()));
}

// `where` goes before what a pattern or a model has to say.
absl::StatusOr<std::unique_ptr<Tokenizer>> Build(TokenizerSpec spec, std::string_view where) {
  absl::StatusOr<std::unique_ptr<PipelineTokenizer>> tokenizer = PipelineTokenizer::Create(std::move(spec));
  if (!tokenizer.ok()) return Prefixed(where, tokenizer.status());
  return tokenizer;
}

absl::StatusOr<std::string> ReadOptionalFile(const std::filesystem::path& path) {
  absl::StatusOr<std::string> content = ReadFile(path);
  if (absl::IsNotFound(content.status())) return std::string();
  return content;
}

// additional_chat_templates/NAME.jinja. Of those that are not used, the names only.
absl::Status ReadAdditionalTemplates(const std::filesystem::path& folder,
                                     std::map<std::string, std::string>& templates) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) return absl::OkStatus();
  int count = 0;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::filesystem::path& path = entry->path();
    if (path.extension() != ".jinja") continue;
    if (++count > kMaxTemplateFiles) {
      return absl::InvalidArgumentError(
          Concat(folder.string(), ": more than ", kMaxTemplateFiles, " chat templates"));
    }
    const std::string name = path.stem().string();
    if (!ChatTemplates::Uses(name)) {
      templates.try_emplace(name);
      continue;
    }
    absl::StatusOr<std::string> source = ReadFile(path);
    if (!source.ok()) return source.status();
    if (!source->empty()) templates.insert_or_assign(name, *std::move(source));
  }
  if (!error) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat(folder.string(), ": ", error.message()));
}

// chat_template.jinja, which replaces all that the configuration has, and those beside it.
absl::Status ReadTemplateFiles(const std::filesystem::path& folder,
                               std::map<std::string, std::string>& templates) {
  absl::StatusOr<std::string> source = ReadOptionalFile(folder / "chat_template.jinja");
  if (!source.ok()) return source.status();
  if (!source->empty()) templates = {{kDefaultTemplate, *std::move(source)}};
  return ReadAdditionalTemplates(folder / "additional_chat_templates", templates);
}

// The spec of the first file that is there, and its name.
absl::StatusOr<std::pair<TokenizerSpec, std::string_view>> ReadSpec(const std::filesystem::path& folder) {
  const absl::StatusOr<std::string> config_json = ReadOptionalFile(folder / "tokenizer_config.json");
  if (!config_json.ok()) return config_json.status();
  const std::pair<std::string_view, decltype(&TokenizerJsonSpec)> readers[] = {
      {"tokenizer.json", &TokenizerJsonSpec}, {"tokenizer.model", &SentencePieceSpec}};
  for (const auto& [name, read] : readers) {
    const absl::StatusOr<std::string> content = ReadFile(folder / name);
    if (absl::IsNotFound(content.status())) continue;
    if (!content.ok()) return content.status();
    absl::StatusOr<TokenizerSpec> spec = read(*content, *config_json);
    if (!spec.ok()) return Prefixed(Concat(folder.string(), ": "), spec.status());
    return std::pair{*std::move(spec), name};
  }
  return absl::NotFoundError(
      Concat((folder / "tokenizer.json").string(), ": no such file, and no tokenizer.model beside it"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromFolder(const std::string& folder) {
  const std::filesystem::path path(folder);
  absl::StatusOr<std::pair<TokenizerSpec, std::string_view>> found = ReadSpec(path);
  if (!found.ok()) return found.status();
  auto& [spec, name] = *found;
  if (absl::Status s = ReadTemplateFiles(path, spec.chat_templates); !s.ok()) return s;
  return Build(std::move(spec), Concat((path / name).string(), ": "));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json,
                                                               std::string_view config_json) {
  absl::StatusOr<TokenizerSpec> spec = TokenizerJsonSpec(tokenizer_json, config_json);
  if (!spec.ok()) return spec.status();
  return Build(*std::move(spec), "tokenizer.json: ");
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromSentencePiece(std::string_view tokenizer_model,
                                                                        std::string_view config_json) {
  absl::StatusOr<TokenizerSpec> spec = SentencePieceSpec(tokenizer_model, config_json);
  if (!spec.ok()) return spec.status();
  return Build(*std::move(spec), "tokenizer.model: ");
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufVocabulary& vocabulary) {
  absl::StatusOr<TokenizerSpec> spec = GgufTokenizerSpec(vocabulary);
  if (!spec.ok()) return spec.status();
  return Build(*std::move(spec), "tokenizer.ggml: ");
}

}  // namespace memgate
