// Input: the files of a model, each a line "=== NAME" and what stands before the next such line; names other
// than those below are left out. With "model.gguf" among them the model is that file, else the folder.
// Whatever lies there can be inspected; what the inspection says can be served is loaded and answers, unless
// the budget is too small for it.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "engine/engine.h"
#include "engine/inspection.h"
#include "tests/fuzz/input_parts.h"
#include "tests/support/turn_recorder.h"

namespace memgate {
namespace {

constexpr int64_t kBudgetBytes = 32 << 20;
constexpr std::string_view kGguf = "model.gguf";
constexpr std::string_view kNames[] = {"config.json",
                                       "generation_config.json",
                                       "model.safetensors",
                                       "model.safetensors.index.json",
                                       "first.safetensors",
                                       "second.safetensors",
                                       "tokenizer.json",
                                       "tokenizer.model",
                                       "tokenizer_config.json",
                                       "chat_template.jinja",
                                       "additional_chat_templates/tool_use.jinja",
                                       "memory.json",
                                       "memory.safetensors",
                                       "memory/a/memory.json",
                                       "memory/a/memory.safetensors",
                                       "memory/b/config.json",
                                       "memory/b/model.safetensors",
                                       kGguf};

// A folder of this process, removed at its end.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("memgate_fuzz_" + std::to_string(::getpid()))) {}
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  std::string File(std::string_view name) const { return path_ / name; }

  // Holds these files and no others from now on.
  void Fill(std::string_view input) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
    while (!input.empty()) {
      const std::string_view name = TakePart(input, '\n');
      const std::string_view content = TakePart(input, "\n=== ");
      if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames)) continue;
      std::filesystem::create_directories((path_ / name).parent_path());
      std::ofstream(path_ / name, std::ios::binary) << content;
    }
  }

 private:
  const std::filesystem::path path_;
};

absl::StatusOr<std::unique_ptr<Engine>> Load(const std::string& path) {
  return Engine::Load({.model_path = path,
                       .weights = WeightFormat::kInt8,
                       .memory_budget_bytes = kBudgetBytes,
                       .exact_limit_tokens = 16,
                       .max_batch_tokens = 8,
                       .max_active_turns = 1,
                       .threads = 1});
}

void Serve(const std::string& path) {
  const auto engine = Load(path);
  if (!engine.ok()) {
    // An inspection reads no weights.
    const bool is_weight = absl::StrContains(engine.status().message(), "not finite");
    return Require(absl::IsResourceExhausted(engine.status()) || is_weight);
  }
  (void)(*engine)->RenderChat({{"user", "?"}}, {}, /*first_turn=*/true);
  (void)(*engine)->RenderChat({{"user", "?"}}, {.tools = {"{}"}}, /*first_turn=*/false);
  const auto session = (*engine)->CreateSession({});
  if (!session.ok()) return;
  const auto lease = (*engine)->Acquire(*session);
  Require(lease.ok());
  const auto constraint = (*engine)->Constrain({OutputFormat::Kind::kJsonObject, ""});
  TurnRequest request{.lease = *lease, .tokens = {0, 0, 0, 0, 0, 0}, .max_new_tokens = 3};
  if (constraint.ok()) request.constraint = *constraint;
  const auto recorder = std::make_shared<TurnRecorder>();
  const auto turn = (*engine)->Submit(std::move(request), recorder);
  if (turn.ok()) recorder->Wait();
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  static Folder folder;
  std::string_view input = AsText(data, size);
  TakePart(input, "=== ");
  folder.Fill(input);
  const bool is_gguf = std::filesystem::exists(folder.File(kGguf));
  const std::string path = folder.File(is_gguf ? kGguf : "");
  const auto inspection = Inspect(path, {.memory_budget_bytes = kBudgetBytes});
  Require(inspection.ok());
  if (inspection->obstacles.empty() && inspection->format != kMemoryModuleFormat) Serve(path);
  return 0;
}
