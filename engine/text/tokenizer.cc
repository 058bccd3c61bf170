#include "engine/text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "engine/text/gguf_tokenizer_spec.h"
#include "engine/text/pipeline_tokenizer.h"
#include "engine/text/sentencepiece_spec.h"
#include "engine/text/strings.h"
#include "engine/text/tokenizer_json_spec.h"

namespace memgate {
namespace {

constexpr uintmax_t kMaxFileBytes = 256 << 20;

// NOT_FOUND if there is no such file.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    return absl::NotFoundError(Concat(path.string(), ": no such file"));
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
  absl::StatusOr<std::string> chat_template = ReadOptionalFile(path / "chat_template.jinja");
  if (!chat_template.ok()) return chat_template.status();
  absl::StatusOr<std::pair<TokenizerSpec, std::string_view>> found = ReadSpec(path);
  if (!found.ok()) return found.status();
  auto& [spec, name] = *found;
  if (!chat_template->empty()) spec.chat_template = *std::move(chat_template);
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
