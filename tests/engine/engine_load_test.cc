#include <filesystem>
#include <fstream>
#include <string>

#include "engine/checkpoint/hugging_face.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/engine/engine_fixture.h"
#include "tests/support/module_tensors.h"

namespace memgate {
namespace {

using EngineLoadTest = EngineFixture;

TEST_F(EngineLoadTest, EveryArchitectureAnswers) {
  for (const TinyArchitecture architecture : kTinyArchitectures) {
    auto engine =
        LoadTiny({.architecture = architecture, .eos_token_id = -1, .memory = TinyMemory::kMemgate});
    ASSERT_NE(engine, nullptr);
    const auto turn = Run(*engine, {.lease = Lease(*engine, MakeSession(*engine)),
                                    .tokens = RandomTokens(50, 1),
                                    .max_new_tokens = 5,
                                    .ignore_eos = true});
    EXPECT_EQ(turn->tokens.size(), 5u);
  }
}

TEST_F(EngineLoadTest, TrainedInfiniModulesBecomeTheDefaultKind) {
  auto engine = LoadTiny({.memory = TinyMemory::kInfiniDelta});
  EXPECT_EQ(engine->model().default_memory_kind, "infini-delta");
  EXPECT_TRUE(engine->model().memory_kinds.front().trained);
}

TEST_F(EngineLoadTest, MissingFolderIsNamed) {
  const auto engine = Engine::Load({.model_path = folder_.path() + "/nowhere"});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("nowhere"));
}

TEST_F(EngineLoadTest, WeightsThatExceedTheBudgetAreRefusedBeforeTheyAreRead) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny");
  const auto engine = Engine::Load({.model_path = model, .memory_budget_bytes = 1000});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("weights"));
}

TEST_F(EngineLoadTest, ModuleOfAnotherModelIsRefused) {
  const std::string mine = WriteTinyModel(folder_.path() + "/mine", {.seed = 1});
  const std::string other =
      WriteTinyModel(folder_.path() + "/other", {.seed = 2, .memory = TinyMemory::kMemgate});
  const auto engine = Engine::Load({.model_path = mine, .memory_folder = other});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("base_fingerprint"));
}

TEST_F(EngineLoadTest, AskedForModuleMustExist) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny");
  const auto engine = Engine::Load({.model_path = model, .memory_folder = folder_.path()});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("memory.json"));
}

// Puts the module of a model made with the same seed under `folder`/memory/`name`.
void AddNamedModule(const std::string& folder, const std::string& name, TinyMemory memory,
                    const TempFolder& scratch) {
  const std::string source = WriteTinyModel(scratch.path() + "/source-" + name, {.memory = memory});
  const std::string target = folder + "/memory/" + name;
  std::filesystem::create_directories(target);
  for (const char* file : {"/memory.json", "/memory.safetensors"}) {
    std::filesystem::copy_file(source + file, target + file);
  }
}

std::vector<std::string> KindNames(const Engine& engine, bool trained) {
  std::vector<std::string> names;
  for (const auto& kind : engine.model().memory_kinds) {
    if (kind.trained == trained) names.push_back(kind.kind);
  }
  return names;
}

TEST_F(EngineLoadTest, FurtherModulesBecomeFurtherKinds) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny", {.memory = TinyMemory::kMemgate});
  AddNamedModule(model, "linear", TinyMemory::kInfini, folder_);
  AddNamedModule(model, "delta", TinyMemory::kInfiniDelta, folder_);
  std::filesystem::create_directories(model + "/memory/notes");  // no module, no matter
  const auto engine = Engine::Load({.model_path = model});
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ((*engine)->model().default_memory_kind, "memgate");
  EXPECT_THAT(KindNames(**engine, true), testing::ElementsAre("memgate", "infini-delta", "infini", "window"));
}

TEST_F(EngineLoadTest, WithoutADefaultModuleTheWindowIsTheDefault) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny");
  AddNamedModule(model, "slots", TinyMemory::kMemgate, folder_);
  const auto engine = Engine::Load({.model_path = model});
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ((*engine)->model().default_memory_kind, "window");
  EXPECT_THAT(KindNames(**engine, true), testing::ElementsAre("window", "memgate"));
  EXPECT_THAT(KindNames(**engine, false),
              testing::ElementsAre("infini", "infini-delta", "memgate-untrained"));
}

TEST_F(EngineLoadTest, TwoModulesOfOneKindAreRefusedWithBothFolders) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny", {.memory = TinyMemory::kMemgate});
  AddNamedModule(model, "again", TinyMemory::kMemgate, folder_);
  const auto engine = Engine::Load({.model_path = model});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(engine.status().message()),
              testing::HasSubstr("memory modules in " + model + " and " + model +
                                 "/memory/again are both named 'memgate'"));
}

TEST_F(EngineLoadTest, TwoModulesOfOneKindServeSideBySideUnderTheirNames) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny", {.memory = TinyMemory::kMemgate});
  AddNamedModule(model, "again", TinyMemory::kMemgate, folder_);
  nlohmann::json config = nlohmann::json::parse(std::ifstream(model + "/memory/again/memory.json"));
  config["name"] = "memgate-again";
  folder_.Write("tiny/memory/again/memory.json", config.dump());
  const auto engine = Engine::Load({.model_path = model});
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_THAT(KindNames(**engine, true), testing::ElementsAre("memgate", "memgate-again", "window"));
  const auto session = (*engine)->CreateSession({.memory_kind = "memgate-again"});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ((*engine)->Describe(**session).memory_kind, "memgate-again");
}

TEST_F(EngineLoadTest, WeightsOfModulesCountAgainstTheBudget) {
  const std::string bare = WriteTinyModel(folder_.path() + "/bare");
  const std::string model = WriteTinyModel(folder_.path() + "/tiny", {.memory = TinyMemory::kMemgate});
  const int64_t without = (*Engine::Load({.model_path = bare}))->Stats().reserved_bytes;
  const int64_t with = (*Engine::Load({.model_path = model}))->Stats().reserved_bytes;
  EXPECT_EQ(with - without, 2 * 2 * (32 + 1) * 4);  // L, G, C and a bias
  const auto engine = Engine::Load({.model_path = model, .memory_budget_bytes = with - 1});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("the weights of memory modules"));
}

TEST_F(EngineLoadTest, ModuleWithoutItsTensorsIsNoMissingModule) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny", {.memory = TinyMemory::kMemgate});
  std::filesystem::remove(model + "/memory.safetensors");
  const auto engine = Engine::Load({.model_path = model});
  ASSERT_FALSE(engine.ok());
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("memory.safetensors"));
}

// A module with a matrix serves three ways: with both, slots only, and, without slots, matrix only.
TEST_F(EngineLoadTest, MatrixModulesServeWithAndWithoutSlots) {
  const std::string folder =
      WriteTinyModel(folder_.path() + "/tiny", {.eos_token_id = -1, .memory = TinyMemory::kMemgate});
  const auto base = OpenHuggingFaceFolder(folder);
  ASSERT_TRUE(base.ok()) << base.status();
  folder_.Write("tiny/memory.safetensors", SafetensorsImage(MemgateMatrixTensors(base->config)));
  const auto engine = Engine::Load({.model_path = folder, .threads = 2});
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_THAT(KindNames(**engine, true), testing::ElementsAre("memgate", "memgate-slots", "window"));
  const struct {
    SessionOptions options;
    int64_t salient, compressed, forgotten;
  } table[] = {
      // 100 tokens: 2 sinks, folded(99) = 8 * floor(81 / 8) = 80.
      {{.memory_kind = "memgate"}, 6, 74, 0},
      {{.memory_kind = "memgate", .salient = 0}, 0, 80, 0},
      {{.memory_kind = "memgate-slots"}, 6, 0, 74},
      {{.memory_kind = "memgate-slots", .salient = 0}, 0, 0, 80},
      {{.memory_kind = "memgate", .salient = 90}, 80, 0, 0},  // slots to spare: nothing was written yet
  };
  for (const auto& row : table) {
    const auto session = MakeSession(**engine, row.options);
    Generate(**engine, session, RandomTokens(90, 14), 10);
    const TokenAccounting held = (*engine)->Describe(*session).accounting;
    EXPECT_EQ(held.total, 100);
    EXPECT_EQ(held.exact, 20);
    EXPECT_EQ(held.salient, row.salient);
    EXPECT_EQ(held.compressed, row.compressed);
    EXPECT_EQ(held.forgotten, row.forgotten);
  }
}

TEST_F(EngineLoadTest, ImpossibleOptionsNameTheOption) {
  const std::string model = WriteTinyModel(folder_.path() + "/tiny");
  const auto message = [&](EngineOptions options) {
    options.model_path = model;
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

// Published models name one end here and another one there.
TEST_F(EngineLoadTest, AnswersEndWhereAnyFileSaysSo) {
  const TinyModelOptions model{.eos_token_id = 'e', .chat_template = false};
  EXPECT_THAT(EndIds(*LoadTiny(model)), testing::ElementsAre('e', kTinyEndOfText, kTinyEndOfTurn));

  const std::string folder = WriteTinyModel(folder_.File("rendered"), model);
  const auto ends_with_template = [&](const std::string& chat_template) {
    std::ofstream(folder + "/chat_template.jinja") << chat_template;
    auto engine = Engine::Load({.model_path = folder, .threads = 2});
    EXPECT_TRUE(engine.ok()) << engine.status();
    return EndIds(**engine);
  };
  const std::string behind = "{% for m in messages %}{{ m.content }}";
  EXPECT_THAT(ends_with_template(behind + "<|user|>{% endfor %}"),
              testing::ElementsAre('e', kTinyEndOfText, kTinyUser, kTinyEndOfTurn));
  // Text behind an answer ends nothing, nor does a template that does not render one.
  EXPECT_THAT(ends_with_template(behind + "x<|user|>{% endfor %}"),
              testing::ElementsAre('e', kTinyEndOfText, kTinyEndOfTurn));
  EXPECT_THAT(ends_with_template("{{ raise_exception('no') }}"),
              testing::ElementsAre('e', kTinyEndOfText, kTinyEndOfTurn));
}

TEST_F(EngineLoadTest, ABrokenTemplateForToolsIsOneOnlyForThem) {
  const std::string folder = WriteTinyModel(folder_.File("tools"));
  std::filesystem::create_directories(folder + "/additional_chat_templates");
  std::ofstream(folder + "/additional_chat_templates/tool_use.jinja") << "{% if";
  auto engine = Engine::Load({.model_path = folder});
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_TRUE((*engine)->model().has_chat_template);
  EXPECT_TRUE((*engine)->RenderChat({{"user", "hello"}}, {}, true).ok());
  const auto refused = (*engine)->RenderChat({{"user", "hello"}}, {.tools = {"{}"}}, true);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused.status()), "NO_CHAT_TEMPLATE");
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("with tools"));
}

TEST_F(EngineLoadTest, ChatNeedsATemplate) {
  auto with = LoadTiny();
  EXPECT_TRUE(with->RenderChat({{"user", "hello"}}, {}, true).ok());
  auto without = LoadTiny({.chat_template = false});
  const auto refused = without->RenderChat({{"user", "hello"}}, {}, true);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused.status()), "NO_CHAT_TEMPLATE");
}

}  // namespace
}  // namespace memgate
