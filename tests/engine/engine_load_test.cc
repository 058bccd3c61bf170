#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"

namespace memgate {
namespace {

using EngineLoadTest = EngineFixture;

TEST_F(EngineLoadTest, EveryArchitectureAnswers) {
  for (const TinyArchitecture architecture : {TinyArchitecture::kLlama, TinyArchitecture::kMistral,
                                              TinyArchitecture::kQwen2, TinyArchitecture::kQwen3}) {
    auto engine =
        LoadTiny({.architecture = architecture, .eos_token_id = -1, .memory = TinyMemory::kMemgate});
    ASSERT_NE(engine, nullptr);
    EXPECT_EQ(Generate(*engine, MakeSession(*engine), RandomTokens(50, 1), 5)->tokens.size(), 5u);
  }
}

TEST_F(EngineLoadTest, TrainedInfiniModulesBecomeTheDefaultKind) {
  auto engine = LoadTiny({.memory = TinyMemory::kInfiniDelta});
  EXPECT_EQ(engine->model().default_memory_kind, "infini-delta");
  EXPECT_TRUE(engine->model().memory_kinds.front().trained);
}

TEST_F(EngineLoadTest, MissingFolderIsNamed) {
  const auto engine = Engine::Load({.model_folder = folder_.path() + "/nowhere"});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("nowhere"));
}

TEST_F(EngineLoadTest, WeightsThatExceedTheBudgetAreRefusedBeforeTheyAreRead) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny");
  const auto engine = Engine::Load({.model_folder = model, .memory_budget_bytes = 1000});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("weights"));
}

TEST_F(EngineLoadTest, ModuleOfAnotherModelIsRefused) {
  const std::string mine = WriteTinyModel(folder_.path() + "/mine", {.seed = 1});
  const std::string other =
      WriteTinyModel(folder_.path() + "/other", {.seed = 2, .memory = TinyMemory::kMemgate});
  const auto engine = Engine::Load({.model_folder = mine, .memory_folder = other});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("base_fingerprint"));
}

TEST_F(EngineLoadTest, AskedForModuleMustExist) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny");
  const auto engine = Engine::Load({.model_folder = model, .memory_folder = folder_.path()});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("memory.json"));
}

TEST_F(EngineLoadTest, ImpossibleOptionsNameTheOption) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny");
  const auto message = [&](EngineOptions options) {
    options.model_folder = model;
    const auto status = Engine::Load(std::move(options)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message({.max_batch_tokens = 0}), testing::HasSubstr("batch"));
  EXPECT_THAT(message({.max_batch_tokens = 4, .max_active_turns = 8}), testing::HasSubstr("active"));
  EXPECT_THAT(message({.exact_limit_tokens = 0}), testing::HasSubstr("exact limit"));
}

TEST_F(EngineLoadTest, SlidingWindowModelsBoundTheExactContext) {
  auto engine =
      LoadTiny({.architecture = TinyArchitecture::kMistral, .sliding_window = 64, .eos_token_id = -1});
  EXPECT_EQ(engine->CreateSession({.window = 100}).status().code(), absl::StatusCode::kInvalidArgument);
  const auto turn = Generate(*engine, nullptr, RandomTokens(64, 1), 1);
  EXPECT_EQ(turn->start.route.path, Path::kGated);
}

TEST_F(EngineLoadTest, ChatNeedsATemplate) {
  auto with = LoadTiny();
  EXPECT_TRUE(with->RenderChat({{"user", "hello"}}, true).ok());
  auto without = LoadTiny({.chat_template = false});
  const auto refused = without->RenderChat({{"user", "hello"}}, true);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused.status()), "NO_CHAT_TEMPLATE");
}

}  // namespace
}  // namespace memgate
