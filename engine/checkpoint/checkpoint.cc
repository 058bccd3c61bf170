#include "engine/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/gguf_source.h"
#include "engine/checkpoint/hugging_face.h"

namespace memgate {
namespace {

constexpr char kGgufExtension[] = ".gguf";

bool IsFolder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

}  // namespace

absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
  }
  return IsFolder(path) ? OpenHuggingFaceFolder(path) : OpenGgufFile(path);
}

std::string CheckpointName(const std::string& path) {
  std::filesystem::path last = std::filesystem::path(path).lexically_normal();
  if (!last.has_filename()) last = last.parent_path();
  return (last.extension() == kGgufExtension ? last.stem() : last.filename()).string();
}

std::string CheckpointFolder(const std::string& path) {
  if (IsFolder(path)) return path;
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status FitToVocabulary(int vocab_size, GenerationDefaults& defaults) {
  for (const int32_t id : defaults.eos_token_ids) {
    if (id >= vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("eos_token_id: ", id, " is outside the vocabulary of ", vocab_size));
    }
  }
  if (defaults.top_k.has_value()) defaults.top_k = std::min(*defaults.top_k, vocab_size);
  return absl::OkStatus();
}

}  // namespace memgate
