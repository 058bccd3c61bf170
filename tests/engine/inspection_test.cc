#include "engine/inspection.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/checkpoint/hugging_face.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/engine/engine_fixture.h"
#include "tests/support/gguf_model.h"
#include "tests/support/module_tensors.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class InspectionTest : public EngineFixture {
 protected:
  static Inspection Look(const std::string& path, const std::string& memory_folder = "") {
    auto inspection =
        Inspect(path, {.memory_folder = memory_folder, .memory_budget_bytes = int64_t{1} << 30});
    EXPECT_TRUE(inspection.ok()) << inspection.status();
    return inspection.ok() ? *std::move(inspection) : Inspection();
  }

  std::string Converted(const std::string& model) {
    return folder_.Write("model.gguf", GgufOfFolder(model).Image());
  }

  // Sets a key of a JSON file, or removes it with null.
  static void Edit(const std::string& path, const std::string& key, const nlohmann::json& value) {
    nlohmann::json object = nlohmann::json::parse(std::ifstream(path));
    if (value.is_null()) {
      object.erase(key);
    } else {
      object[key] = value;
    }
    std::ofstream(path) << object.dump();
  }

  // An engine that serves what was inspected costs what the inspection said.
  static void ExpectCosts(const Inspection& inspection, WeightFormat weights, KvFormat kv) {
    const auto engine =
        Engine::Load({.model_path = inspection.path, .weights = weights, .kv = kv, .threads = 2});
    ASSERT_TRUE(engine.ok()) << engine.status();
    const ModelInfo& model = (*engine)->model();
    EXPECT_EQ(inspection.parameters, model.parameters);
    EXPECT_EQ(inspection.architecture, model.config.architecture);
    EXPECT_EQ(inspection.has_chat_template, model.has_chat_template);
    EXPECT_EQ(inspection.vocabulary_size, (*engine)->tokenizer().vocab_size());
    EXPECT_EQ(inspection.weights[static_cast<size_t>(weights)].bytes, (*engine)->Stats().weight_bytes);
    EXPECT_EQ(inspection.weights[static_cast<size_t>(weights)].bytes, model.weight_bytes);
    EXPECT_EQ(inspection.full_kv_per_token[static_cast<size_t>(kv)].bytes, model.full_kv_bytes_per_token);
    ASSERT_EQ(inspection.kinds.size(), model.memory_kinds.size());
    for (size_t i = 0; i < inspection.kinds.size(); ++i) {
      EXPECT_EQ(inspection.kinds[i].kind, model.memory_kinds[i].kind);
      EXPECT_EQ(inspection.kinds[i].trained, model.memory_kinds[i].trained);
      EXPECT_EQ(inspection.kinds[i].shape, model.memory_kinds[i].default_shape);
      const SessionCost& cost = inspection.kinds[i].session[static_cast<size_t>(kv)];
      EXPECT_EQ(cost.format, kv);
      EXPECT_EQ(cost.bytes, model.memory_kinds[i].default_session_bytes);
    }
  }
};

TEST_F(InspectionTest, AFolderCostsWhatItSays) {
  const Inspection inspection = Look(WriteTinyModel(folder_.File("tiny"), {.memory = TinyMemory::kMemgate}));
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_THAT(inspection.remarks, IsEmpty());
  EXPECT_EQ(inspection.format, "Hugging Face folder");
  EXPECT_EQ(inspection.tokenizer, "BPE");
  ASSERT_THAT(inspection.types, SizeIs(1));
  EXPECT_EQ(inspection.types[0].type, "F32");
  EXPECT_EQ(inspection.types[0].bytes, *inspection.parameters * 4);
  ASSERT_THAT(inspection.modules, SizeIs(1));
  EXPECT_EQ(inspection.modules[0].kind, "memgate");
  EXPECT_EQ(inspection.modules[0].shape.window, 16);
  EXPECT_EQ(inspection.default_weights, WeightFormat::kF32);
  ExpectCosts(inspection, WeightFormat::kF32, KvFormat::kF32);
  ExpectCosts(inspection, WeightFormat::kBf16, KvFormat::kBf16);
  ExpectCosts(inspection, WeightFormat::kInt8, KvFormat::kInt8);
  ExpectCosts(inspection, WeightFormat::kInt4, KvFormat::kF32);
}

TEST_F(InspectionTest, AFileCostsWhatTheFolderDoes) {
  const std::string model = WriteTinyModel(folder_.File("tiny"), {.architecture = TinyArchitecture::kQwen2});
  const Inspection inspection = Look(Converted(model));
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_EQ(inspection.format, "GGUF 3");
  EXPECT_EQ(inspection.tokenizer, "gpt2, gpt-2");
  EXPECT_THAT(inspection.modules, IsEmpty());
  EXPECT_EQ(inspection.parameters, Look(model).parameters);
  ExpectCosts(inspection, WeightFormat::kInt8, KvFormat::kF32);
}

TEST_F(InspectionTest, ModulesMayLieElsewhere) {
  const std::string model = WriteTinyModel(folder_.File("tiny"));
  const std::string modules = WriteTinyModel(folder_.File("modules"), {.memory = TinyMemory::kInfini});
  const Inspection inspection = Look(model, modules);
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_EQ(inspection.kinds.front().kind, "infini");
  EXPECT_EQ(inspection.modules.front().folder, modules);
}

TEST_F(InspectionTest, BesideALargeModuleKindsWithoutOneAreNotLarge) {
  const Inspection small = Look(WriteTinyModel(folder_.File("small"), {.memory = TinyMemory::kMemgate}));
  for (const KindSummary& kind : small.kinds) EXPECT_EQ(kind.shape.window, 16) << kind.kind;
  const Inspection large =
      Look(WriteTinyModel(folder_.File("large"), {.memory = TinyMemory::kMemgate, .memory_window = 3000}));
  ASSERT_GT(large.kinds.size(), size_t{1});
  for (const KindSummary& kind : large.kinds) {
    EXPECT_EQ(kind.shape.window, kind.kind == "memgate" ? 3000 : 1024) << kind.kind;
  }
  ExpectCosts(large, WeightFormat::kF32, KvFormat::kF32);
}

TEST_F(InspectionTest, AnUnknownArchitectureIsNamedAndTheRestStillTold) {
  const std::string file = folder_.Write("mamba.gguf", GgufWriter()
                                                           .Text("general.architecture", "mamba")
                                                           .Tensor("a", {32}, 8, std::string(34, '\0'))
                                                           .TensorAt("b", {256}, 19, 0)
                                                           .Image());
  const Inspection inspection = Look(file);
  EXPECT_EQ(inspection.architecture, "mamba");
  EXPECT_FALSE(inspection.config.has_value());
  EXPECT_THAT(inspection.obstacles, testing::Contains(HasSubstr("\"mamba\" is not supported")));
  ASSERT_THAT(inspection.types, SizeIs(2));
  EXPECT_EQ(inspection.types[0].type, "Q8_0");
  EXPECT_EQ(inspection.types[0].bytes, 34);
  EXPECT_EQ(inspection.types[1].type, "IQ1_S");
  EXPECT_FALSE(inspection.types[1].readable);

  const std::string folder = WriteTinyModel(folder_.File("tiny"));
  Edit(folder + "/config.json", "architectures", {"FalconForCausalLM"});
  const Inspection other = Look(folder);
  EXPECT_EQ(other.architecture, "FalconForCausalLM");
  EXPECT_THAT(other.obstacles, ElementsAre(HasSubstr("FalconForCausalLM")));
  EXPECT_THAT(other.types, SizeIs(1));
  EXPECT_EQ(other.vocabulary_size, kTinyVocabSize);
}

TEST_F(InspectionTest, EveryObstacleIsNamed) {
  const std::string folder = WriteTinyModel(folder_.File("tiny"), {.layers = 2});
  Edit(folder + "/config.json", "num_hidden_layers", 3);
  std::filesystem::remove(folder + "/tokenizer.json");
  const Inspection inspection = Look(folder);
  EXPECT_THAT(inspection.obstacles,
              ElementsAre(HasSubstr("tokenizer"), HasSubstr("model.layers.2.input_layernorm.weight")));
  EXPECT_FALSE(inspection.parameters.has_value());
  EXPECT_EQ(inspection.tokenizer, "");
  EXPECT_FALSE(inspection.kinds.empty());  // what sessions cost does not depend on it
}

TEST_F(InspectionTest, AShapeThatContradictsTheConfigIsAnObstacle) {
  const std::string folder = WriteTinyModel(folder_.File("tiny"));
  Edit(folder + "/config.json", "intermediate_size", 96);
  EXPECT_THAT(Look(folder).obstacles,
              ElementsAre("tensor \"model.layers.0.mlp.gate_proj.weight\" in " + folder +
                          "/model.safetensors has shape [64, 32], expected [96, 32]"));
}

TEST_F(InspectionTest, AModuleOfAnotherModelIsAnObstacle) {
  const std::string folder = WriteTinyModel(folder_.File("tiny"), {.seed = 1});
  const std::string other =
      WriteTinyModel(folder_.File("other"), {.seed = 2, .memory = TinyMemory::kMemgate});
  const Inspection inspection = Look(folder, other);
  EXPECT_THAT(inspection.obstacles, ElementsAre(HasSubstr("trained on another model")));
  EXPECT_THAT(inspection.kinds, IsEmpty());
  EXPECT_THAT(inspection.modules, SizeIs(1));
}

TEST_F(InspectionTest, AModuleOfAnotherModelIsARemarkWhereItIsAllowed) {
  const std::string model = WriteTinyModel(folder_.File("tiny"), {.seed = 1});
  const std::string other =
      WriteTinyModel(folder_.File("other"), {.seed = 2, .memory = TinyMemory::kMemgate});
  const auto inspection = Inspect(model, {.memory_folder = other, .memory_base = BaseRule::kAny});
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_THAT(inspection->obstacles, IsEmpty());
  EXPECT_THAT(inspection->remarks, ElementsAre(HasSubstr(other + " was trained on another model")));
  ASSERT_THAT(inspection->modules, SizeIs(1));
  EXPECT_EQ(inspection->modules[0].base, BaseMatch::kOther);
  EXPECT_EQ(inspection->kinds.front().kind, "memgate");
}

TEST_F(InspectionTest, AModuleFitsARoundedFileWithTheNormsOfItsBase) {
  const std::string model = WriteTinyModel(folder_.File("tiny"), {.memory = TinyMemory::kMemgate});
  const Inspection of_folder = Look(model);
  EXPECT_EQ(of_folder.modules[0].base, BaseMatch::kTensors);
  EXPECT_EQ(of_folder.fingerprint, of_folder.modules[0].base_fingerprint);
  const std::string file = folder_.Write("model.gguf", GgufOfFolder(model, DType::kQ8_0).Image());
  const Inspection refused = Look(file, model);
  EXPECT_THAT(refused.obstacles, ElementsAre(HasSubstr("the model's is " + refused.norms_fingerprint)));
  EXPECT_EQ(refused.modules[0].base, std::nullopt);
  Edit(model + "/memory.json", "base_norms", refused.norms_fingerprint);
  const Inspection inspection = Look(file, model);
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_EQ(inspection.modules[0].base, BaseMatch::kNorms);
  EXPECT_EQ(inspection.norms_fingerprint, of_folder.norms_fingerprint);
  EXPECT_NE(inspection.fingerprint, of_folder.fingerprint);
}

TEST_F(InspectionTest, ObstaclesNameTensorsAsTheFileDoes) {
  const std::string model = WriteTinyModel(folder_.File("tiny"));
  std::string image = GgufOfFolder(model).Image();
  const size_t at = image.find("blk.1.attn_norm.weight");
  ASSERT_NE(at, std::string::npos);
  const int64_t columns = 8;  // of 32: the rest of the data is left unused
  image.replace(at + 22 + 4, sizeof(columns), reinterpret_cast<const char*>(&columns), sizeof(columns));
  const std::string file = folder_.Write("model.gguf", image);
  EXPECT_THAT(Look(file).obstacles,
              ElementsAre("tensor \"blk.1.attn_norm.weight\" in " + file + " has shape [8], expected [32]"));
}

TEST_F(InspectionTest, ModulesMayBeLeftOut) {
  const std::string folder = WriteTinyModel(folder_.File("tiny"), {.memory = TinyMemory::kMemgate});
  const Inspection inspection = Look(folder, kNoMemoryModules);
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_THAT(inspection.modules, IsEmpty());
  EXPECT_EQ(inspection.kinds.front().kind, "window");
}

TEST_F(InspectionTest, ATemplateThatCannotBeUsedIsARemark) {
  const std::string folder = WriteTinyModel(folder_.File("tiny"));
  Edit(folder + "/tokenizer_config.json", "chat_template", "{% for %}");
  const Inspection inspection = Look(folder);
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_THAT(inspection.remarks, ElementsAre(HasSubstr("chat template cannot be used")));
}

TEST_F(InspectionTest, TemplatesThatHaveNoUseAreRemarks) {
  const std::string folder = WriteTinyModel(folder_.File("tiny"));
  Edit(folder + "/tokenizer_config.json", "chat_template",
       {{{"name", "default"}, {"template", "d"}},
        {{"name", "rag"}, {"template", "r"}},
        {{"name", "tool_use"}, {"template", "{% if"}}});
  const Inspection inspection = Look(folder);
  EXPECT_TRUE(inspection.has_chat_template);
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_THAT(inspection.remarks, ElementsAre(HasSubstr("the chat template \"rag\" is not used"),
                                              HasSubstr("the chat template \"tool_use\" cannot be used: ")));
}

TEST_F(InspectionTest, AModuleAloneTellsWhatItIs) {
  const std::string model = WriteTinyModel(folder_.File("tiny"), {.memory = TinyMemory::kInfini});
  const std::string alone = folder_.File("alone");
  std::filesystem::create_directories(alone);
  for (const char* part : {"/memory.json", "/memory.safetensors"}) {
    std::filesystem::copy_file(model + part, alone + part);
  }
  const Inspection inspection = Look(alone);
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_EQ(inspection.format, kMemoryModuleFormat);
  EXPECT_FALSE(inspection.config.has_value());
  ASSERT_THAT(inspection.modules, SizeIs(1));
  EXPECT_EQ(inspection.modules[0].kind, "infini");
  EXPECT_EQ(inspection.modules[0].shape, (SessionShape{2, 16, 8, 0}));
  EXPECT_EQ(inspection.modules[0].weight_bytes, 2 * 4 * 4);  // L, H
  EXPECT_THAT(inspection.modules[0].base_fingerprint, HasSubstr("sha256:"));
  EXPECT_EQ(inspection.types[0].tensors, 2);

  Edit(alone + "/memory.json", "window_tokens", 0);
  EXPECT_THAT(Look(alone).obstacles, ElementsAre(HasSubstr("'window_tokens' is 0")));
}

TEST_F(InspectionTest, AModelWithAModuleInItIsAModelWhateverItsTensorsAreCalled) {
  const std::string model = folder_.File("gemma3");
  std::filesystem::copy(MEMGATE_SOURCE_DIR "/tests/golden/gemma3", model);
  const std::string other = WriteTinyModel(folder_.File("tiny"), {.memory = TinyMemory::kInfini});
  std::filesystem::copy(other + "/memory.json", model + "/memory.json");
  EXPECT_EQ(Look(model).architecture, "Gemma3ForConditionalGeneration");
}

TEST_F(InspectionTest, APublishedModuleAloneIsNoModel) {
  const std::string model = WriteTinyModel(folder_.File("tiny"), {.architecture = TinyArchitecture::kQwen2});
  const auto base = OpenHuggingFaceFolder(model);
  ASSERT_TRUE(base.ok()) << base.status();
  const std::string alone = folder_.File("ahn");
  std::filesystem::create_directories(alone);
  std::filesystem::copy_file(model + "/config.json", alone + "/config.json");
  Edit(alone + "/config.json", "_ahn_implementation", "GatedDeltaNet");
  Edit(alone + "/config.json", "sliding_window", 32);
  Edit(alone + "/config.json", "use_q_proj", true);
  folder_.Write("ahn/model.safetensors", SafetensorsImage(AhnTensors(base->config)));
  const Inspection inspection = Look(alone);
  EXPECT_THAT(inspection.obstacles, IsEmpty());
  EXPECT_EQ(inspection.format, kMemoryModuleFormat);
  ASSERT_THAT(inspection.modules, SizeIs(1));
  EXPECT_EQ(inspection.modules[0].kind, "ahn");
  EXPECT_EQ(inspection.modules[0].shape.window, 31);
  EXPECT_EQ(inspection.modules[0].base_fingerprint, "");
}

TEST_F(InspectionTest, NothingThereIsNotFound) {
  const auto inspection = Inspect(folder_.File("nowhere"), {});
  EXPECT_EQ(inspection.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(inspection.status().message()), HasSubstr("nowhere"));
}

}  // namespace
}  // namespace memgate
