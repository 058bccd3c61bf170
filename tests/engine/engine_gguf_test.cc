// A GGUF file serves as the folder does that it was made of.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/inspection.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/engine/engine_fixture.h"
#include "tests/support/gguf_model.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class EngineGgufTest : public EngineFixture {
 protected:
  // The folder `model` as a file in a folder of its own.
  std::string Converted(const std::string& model) {
    std::filesystem::create_directories(folder_.File("files"));
    return folder_.Write("files/tiny-1.5B.F32.gguf", GgufOfFolder(model).Image());
  }

  static std::unique_ptr<Engine> Load(EngineOptions options) {
    options.threads = 2;
    auto engine = Engine::Load(std::move(options));
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engine.ok() ? *std::move(engine) : nullptr;
  }

  static std::vector<TokenId> Answer(Engine& engine) {
    return Generate(engine, MakeSession(engine), RandomTokens(60, 1), 20)->tokens;
  }
};

TEST_F(EngineGgufTest, AnswersAsTheFolderDoesThroughItsMemory) {
  const std::string model =
      WriteTinyModel(folder_.File("model"), {.eos_token_id = -1, .memory = TinyMemory::kMemgate});
  const std::string file = Converted(model);
  for (const char* part : {"/memory.json", "/memory.safetensors"}) {
    std::filesystem::copy_file(model + part, folder_.File("files") + part);
  }
  const auto from_folder = Load({.model_path = model});
  const auto from_file = Load({.model_path = file});
  const ModelInfo& info = from_file->model();
  EXPECT_EQ(info.name, "tiny-1.5B.F32");
  EXPECT_EQ(info.default_memory_kind, "memgate");
  EXPECT_EQ(info.fingerprint, from_folder->model().fingerprint);
  EXPECT_EQ(info.parameters, from_folder->model().parameters);
  EXPECT_TRUE(info.has_chat_template);
  EXPECT_EQ(Answer(*from_file), Answer(*from_folder));
}

TEST_F(EngineGgufTest, EncodesTextAndRendersChatsAsTheFolderDoes) {
  const std::string model = WriteTinyModel(folder_.File("model"));
  const auto from_folder = Load({.model_path = model});
  const auto from_file = Load({.model_path = Converted(model)});
  const std::string text = "h\xc3\xa9llo w\xc3\xb6rld<|end|>\n";
  EXPECT_EQ(*from_file->tokenizer().Encode(text, TextPosition::kStart),
            *from_folder->tokenizer().Encode(text, TextPosition::kStart));
  const std::vector<ChatTurn> messages = {{.role = "user", .content = "hello"}};
  EXPECT_EQ(*from_file->RenderChat(messages, {}, true), *from_folder->RenderChat(messages, {}, true));
}

// The folder's generation_config.json names nothing, as that of a fine-tuned model names another model's end;
// the third end is known only by what the template writes behind an answer.
TEST_F(EngineGgufTest, AnswersEndWhereThoseOfTheFolderDo) {
  const std::string model = WriteTinyModel(folder_.File("model"), {.eos_token_id = -1});
  nlohmann::json config = nlohmann::json::parse(std::ifstream(model + "/tokenizer_config.json"));
  config["chat_template"] = "{% for m in messages %}{{ m.content }} \n<|assistant|>{% endfor %}";
  std::ofstream(model + "/tokenizer_config.json") << config.dump();
  const auto from_folder = Load({.model_path = model});
  const auto from_file = Load({.model_path = Converted(model)});
  EXPECT_THAT(EndIds(*from_folder), ElementsAre(kTinyEndOfText, kTinyAssistant, kTinyEndOfTurn));
  EXPECT_EQ(EndIds(*from_file), EndIds(*from_folder));
}

TEST_F(EngineGgufTest, BothRenderToolsWithTheTemplateForThem) {
  const std::string model = WriteTinyModel(folder_.File("model"));
  nlohmann::json config = nlohmann::json::parse(std::ifstream(model + "/tokenizer_config.json"));
  const std::string plain = "{{ messages[0].content }}", tools = "{{ tools[0].name }}";
  config["chat_template"] = {{{"name", "default"}, {"template", plain}},
                             {{"name", "tool_use"}, {"template", tools}}};
  std::ofstream(model + "/tokenizer_config.json") << config.dump();
  const auto from_folder = Load({.model_path = model});
  const auto from_file = Load({.model_path = Converted(model)});
  for (const auto& engine : {from_folder.get(), from_file.get()}) {
    EXPECT_EQ(engine->RenderChat({{"user", "hello"}}, {}, true).value(), "hello");
    EXPECT_EQ(engine->RenderChat({{"user", "hello"}}, {.tools = {R"({"name": "f"})"}}, true).value(), "f");
  }
}

TEST_F(EngineGgufTest, AnotherFolderMayHoldTheModules) {
  const std::string model =
      WriteTinyModel(folder_.File("model"), {.eos_token_id = -1, .memory = TinyMemory::kInfini});
  const std::string file = Converted(model);
  EXPECT_EQ(Load({.model_path = file})->model().default_memory_kind, "window");
  EXPECT_EQ(Load({.model_path = file, .memory_folder = model})->model().default_memory_kind, "infini");
}

// Of a model whose rows are whole blocks of every type.
constexpr TinyModelOptions kWide = {
    .hidden = 256, .head_dim = 64, .ffn = 256, .eos_token_id = -1, .memory = TinyMemory::kMemgate};

class QuantisedFileTest : public EngineGgufTest, public testing::WithParamInterface<DType> {
 protected:
  // A model with a module, and a file of it with matrices of the type in a folder with a copy of the module.
  void SetUp() override {
    model_ = WriteTinyModel(folder_.File("model"), kWide);
    std::filesystem::create_directories(folder_.File("files"));
    file_ = folder_.Write("files/tiny.gguf", GgufOfFolder(model_, GetParam()).Image());
    for (const char* part : {"/memory.json", "/memory.safetensors"}) {
      std::filesystem::copy_file(model_ + part, folder_.File("files") + part);
    }
  }

  // Says in memory.json which norms the module's base has, as inspections of that base tell.
  void NameNorms() const {
    const auto inspection = Inspect(model_, {.memory_budget_bytes = int64_t{1} << 30});
    ASSERT_TRUE(inspection.ok()) << inspection.status();
    const std::string path = folder_.File("files/memory.json");
    nlohmann::json config = nlohmann::json::parse(std::ifstream(path));
    config["base_norms"] = inspection->norms_fingerprint;
    std::ofstream(path) << config.dump();
  }

  std::string model_, file_;
};

TEST_P(QuantisedFileTest, TakesTheModuleThatWasTrainedOnTheFolder) {
  NameNorms();
  const auto engine = Load({.model_path = file_});
  const ModelInfo& info = engine->model();
  EXPECT_EQ(info.default_memory_kind, "memgate");
  ASSERT_EQ(info.memory_modules.size(), 1u);
  EXPECT_EQ(info.memory_modules[0].folder, folder_.File("files"));
  EXPECT_EQ(info.memory_modules[0].kind, "memgate");
  EXPECT_EQ(info.memory_modules[0].base, BaseMatch::kNorms);
  const auto session = MakeSession(*engine);
  EXPECT_EQ(Generate(*engine, session, RandomTokens(60, 1), 20)->tokens.size(), 20u);
  EXPECT_GT(engine->Describe(*session).memory_writes, 0);
}

// A session's state is of the tensors that it was computed with.
TEST_P(QuantisedFileTest, SessionsOfTheFolderAreStillOthers) {
  NameNorms();
  const auto from_folder = Load({.model_path = model_});
  const auto from_file = Load({.model_path = file_});
  EXPECT_NE(from_file->model().fingerprint, from_folder->model().fingerprint);
  const auto of_folder = MakeSession(*from_folder), of_file = MakeSession(*from_file);
  Ingest(*from_folder, of_folder, RandomTokens(60, 1));
  Ingest(*from_file, of_file, RandomTokens(60, 1));
  const auto refused = from_file->Import(Snapshot(*from_folder, of_folder));
  EXPECT_EQ(ReasonOf(refused.status()), "SNAPSHOT_MISMATCH") << refused.status();
  const auto restored = from_file->Import(Snapshot(*from_file, of_file));
  ASSERT_TRUE(restored.ok()) << restored.status();
  const std::vector<TokenId> more = RandomTokens(3, 2);
  EXPECT_EQ(Generate(*from_file, *restored, more, 10)->tokens,
            Generate(*from_file, of_file, more, 10)->tokens);
}

TEST_P(QuantisedFileTest, AModuleThatDoesNotNameTheNormsNeedsTheOperatorsWord) {
  const absl::Status refused = Engine::Load({.model_path = file_}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("base_norms is none, the model's is sha256:"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("with memory base 'any' it is used all the same"));
  const auto engine = Load({.model_path = file_, .memory_base = BaseRule::kAny});
  ASSERT_EQ(engine->model().memory_modules.size(), 1u);
  EXPECT_EQ(engine->model().memory_modules[0].base, BaseMatch::kOther);
  EXPECT_EQ(Answer(*engine).size(), 20u);
}

INSTANTIATE_TEST_SUITE_P(Types, QuantisedFileTest, testing::Values(DType::kBF16, DType::kQ8_0, DType::kQ4_K),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

// In the folder of a model whose modules are tied to other tensors than the file holds.
TEST_F(EngineGgufTest, ServesWithoutTheModulesBesideItWhereAskedTo) {
  const std::string model =
      WriteTinyModel(folder_.File("model"), {.eos_token_id = -1, .memory = TinyMemory::kMemgate});
  const std::string other = WriteTinyModel(folder_.File("other"), {.seed = 5, .eos_token_id = -1});
  const std::string file = folder_.Write("model/other.gguf", GgufOfFolder(other).Image());
  const absl::Status refused = Engine::Load({.model_path = file}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("with memory 'none' the model is served"));
  const auto engine = Load({.model_path = file, .memory_folder = kNoMemoryModules});
  EXPECT_EQ(engine->model().default_memory_kind, "window");
  EXPECT_EQ(Answer(*engine).size(), 20u);
}

TEST_F(EngineGgufTest, FingerprintAndPackedWeightsAreRemembered) {
  const std::string file = Converted(WriteTinyModel(folder_.File("model"), {.eos_token_id = -1}));
  std::vector<std::string> hits;
  EngineOptions options = {.model_path = file, .weights = WeightFormat::kInt8};
  options.clock = [] { return absl::Now() + absl::Hours(1); };  // as if the file had been there for long
  options.weight_cache = {.folder = folder_.File("cache"),
                          .write = WeightCacheOptions::Write::kBeforeLoaded,
                          .report = [&](const auto& event) {
                            if (event.outcome == WeightCacheEvent::Outcome::kHit) hits.push_back(event.what);
                          }};
  const std::vector<TokenId> first = Answer(*Load(options));
  EXPECT_THAT(hits, ElementsAre());
  EXPECT_EQ(Answer(*Load(options)), first);
  EXPECT_THAT(hits, ElementsAre("fingerprint", "weights"));
}

TEST_F(EngineGgufTest, ATensorOfAnUnsupportedTypeIsRefusedByName) {
  const std::string model = WriteTinyModel(folder_.File("model"));
  std::string image = GgufOfFolder(model).Image();
  const std::string name = "blk.1.ffn_up.weight";
  const size_t type_at = image.find(name) + name.size() + 4 + 2 * 8;
  ASSERT_LT(type_at, image.size());
  image[type_at] = 34;  // TQ1_0
  const auto engine = Engine::Load({.model_path = folder_.Write("odd.gguf", image)});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(engine.status().message()), HasSubstr("tensor \"" + name + "\" in "));
  EXPECT_THAT(std::string(engine.status().message()), HasSubstr("odd.gguf has type TQ1_0"));
}

TEST_F(EngineGgufTest, AnUnknownTokenizerIsRefusedWithTheFile) {
  std::string image = GgufOfFolder(WriteTinyModel(folder_.File("model"))).Image();
  const size_t at = image.find("gpt2");
  ASSERT_NE(at, std::string::npos);
  image.replace(at, 4, "bert");
  const std::string file = folder_.Write("odd.gguf", image);
  const auto engine = Engine::Load({.model_path = file});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(engine.status().message()), StartsWith(file + ": "));
  EXPECT_THAT(std::string(engine.status().message()), HasSubstr("bert"));
}

}  // namespace
}  // namespace memgate
