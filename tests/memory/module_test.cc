#include "engine/memory/module.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/checkpoint/hugging_face.h"
#include "tests/support/module_tensors.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {
namespace {

using nlohmann::json;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A tiny model with a module of `memory` in the same folder.
class ModuleFolder {
 public:
  explicit ModuleFolder(TinyMemory memory) {
    WriteTinyModel(folder_.path(), {.memory = memory});
    auto base = OpenHuggingFaceFolder(folder_.path());
    EXPECT_TRUE(base.ok()) << base.status();
    base_ = *std::move(base);
    fingerprint_ = *Fingerprint(*base_.tensors);
  }

  absl::StatusOr<MemoryModule> Load() const {
    return LoadMemoryModule(folder_.path(), {base_.config, fingerprint_});
  }
  json Config() const { return json::parse(ReadFile(folder_.File("memory.json"))); }
  void SetConfig(const json& config) const { folder_.Write("memory.json", config.dump()); }
  const TempFolder& folder() const { return folder_; }
  const ModelConfig& base() const { return base_.config; }
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  const TempFolder folder_;
  Checkpoint base_;
  std::string fingerprint_;
};

TEST(MemoryModuleTest, LoadsEveryKind) {
  for (const auto& [memory, name] : {std::pair{TinyMemory::kMemgate, "memgate"},
                                     {TinyMemory::kInfini, "infini"},
                                     {TinyMemory::kInfiniDelta, "infini-delta"}}) {
    const ModuleFolder folder(memory);
    const auto module = folder.Load();
    ASSERT_TRUE(module.ok()) << module.status();
    EXPECT_EQ(module->kind->name(), name);
    EXPECT_TRUE(module->kind->trained());
    EXPECT_EQ(module->config.kind, name);
    EXPECT_EQ(module->config.sink_tokens, 2);
    EXPECT_EQ(module->config.window_tokens, 16);
    EXPECT_EQ(module->config.segment_tokens, 8);
    EXPECT_EQ(module->config.salient_tokens, memory == TinyMemory::kMemgate ? 6 : 0);
    EXPECT_TRUE(module->fingerprint.starts_with("sha256:"));
    EXPECT_NE(module->fingerprint, folder.fingerprint());
  }
}

TEST(MemoryModuleTest, AModuleMayNameItselfAndItsVariants) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  folder.folder().Write("memory.safetensors", SafetensorsImage(MemgateMatrixTensors(folder.base())));
  json config = folder.Config();
  config["name"] = "notes-2";
  folder.SetConfig(config);
  const auto module = folder.Load();
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->config.kind, "memgate");
  EXPECT_EQ(module->kind->name(), "notes-2");
  ASSERT_EQ(module->variants.size(), 1u);
  EXPECT_EQ(module->variants[0]->name(), "notes-2-slots");
  for (const std::string& name : {std::string("memgate"), std::string("a"), std::string(64, 'x')}) {
    config["name"] = name;
    folder.SetConfig(config);
    EXPECT_TRUE(folder.Load().ok()) << name << ": " << folder.Load().status();
  }
}

TEST(MemoryModuleTest, RefusesImpossibleNames) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  json config = folder.Config();
  for (const json& name : {json(""), json("2nd"), json("-a"), json("Notes"), json("a b"), json("a_b"),
                           json("\u00e4"), json(std::string(65, 'x'))}) {
    config["name"] = name;
    folder.SetConfig(config);
    EXPECT_EQ(folder.Load().status().message(),
              folder.folder().path() +
                  "/memory.json: 'name' must be a lower case letter and up to 63 lower "
                  "case letters, digits and dashes")
        << name;
  }
  config["name"] = 7;
  folder.SetConfig(config);
  EXPECT_EQ(folder.Load().status().message(),
            folder.folder().path() + "/memory.json: 'name' must be a string");
  config["name"] = "window";
  folder.SetConfig(config);
  EXPECT_EQ(folder.Load().status().message(),
            folder.folder().path() +
                "/memory.json: 'name' is 'window', which is another kind; this module's is 'memgate'");
  config["name"] = "notes-slots";
  folder.SetConfig(config);
  EXPECT_EQ(
      folder.Load().status().message(),
      folder.folder().path() + "/memory.json: 'name' ends in '-slots', which names variants of modules");
}

// Sessions are tied to what their state means: the same tensors under other options are another module.
TEST(MemoryModuleTest, FingerprintCoversKindAndOptionsButNotNameAndGeometry) {
  const ModuleFolder folder(TinyMemory::kInfiniDelta);
  json config = folder.Config();
  const auto fingerprint = [&] {
    folder.SetConfig(config);
    const auto module = folder.Load();
    EXPECT_TRUE(module.ok()) << module.status();
    return module->fingerprint;
  };
  const std::string plain = fingerprint();
  config["name"] = "other";
  config["window_tokens"] = 17;
  config["comment"] = "read by nobody";
  EXPECT_EQ(fingerprint(), plain);
  config["normaliser"] = "length";
  EXPECT_NE(fingerprint(), plain);
  config.erase("normaliser");
  config["kind"] = "infini";
  EXPECT_NE(fingerprint(), plain);
}

TEST(MemoryModuleTest, BytesAreThoseOfItsNumbersAsF32) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  const auto bytes = MemoryModuleBytes(folder.folder().path());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, 2 * 2 * (32 + 1) * 4);  // L, G, C and a bias
  std::filesystem::remove(folder.folder().File("memory.safetensors"));
  EXPECT_FALSE(MemoryModuleBytes(folder.folder().path()).ok());
}

TEST(MemoryModuleTest, FolderWithoutOneIsNotFound) {
  const ModuleFolder folder(TinyMemory::kNone);
  const absl::Status status = folder.Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), folder.folder().path() + "/memory.json: No such file or directory");
}

TEST(MemoryModuleTest, NamedPipesAreRefusedAtOnce) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  const std::string path = folder.folder().File("memory.json");
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(folder.Load().status().message(), path + ": not a regular file");
  const TempFolder published;
  ASSERT_EQ(mkfifo(published.File("config.json").c_str(), 0600), 0);
  EXPECT_EQ(MemoryModuleBytes(published.path()).status().code(), absl::StatusCode::kNotFound);
}

TEST(MemoryModuleTest, ConfigWithoutWeightsNamesTheMissingFile) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  std::filesystem::remove(folder.folder().File("memory.safetensors"));
  const absl::Status status = folder.Load().status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find(folder.folder().File("memory.safetensors")), std::string::npos) << status;
}

TEST(MemoryModuleTest, RefusesAModuleOfAnotherModel) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  json config = folder.Config();
  config["base_norms"] = "sha256:mine";
  folder.SetConfig(config);
  const absl::Status status =
      LoadMemoryModule(folder.folder().path(), {folder.base(), "sha256:other", "sha256:norms"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            folder.folder().path() +
                "/memory.json: the memory module was trained on another model: base_fingerprint is " +
                folder.fingerprint() +
                ", the model's is sha256:other; base_norms is sha256:mine, the model's is sha256:norms; with "
                "memory base 'any' it is used all the same");
}

TEST(MemoryModuleTest, TellsHowTheModelIsTheOneThatItWasTrainedOn) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  json config = folder.Config();
  config["base_norms"] = "sha256:norms";
  folder.SetConfig(config);
  const auto match = [&](std::string_view fingerprint, std::string_view norms, BaseRule rule) {
    const auto module = LoadMemoryModule(folder.folder().path(), {folder.base(), fingerprint, norms, rule});
    EXPECT_TRUE(module.ok()) << module.status();
    return module.ok() ? module->base : BaseMatch::kUnnamed;
  };
  for (const BaseRule rule : {BaseRule::kSame, BaseRule::kAny}) {
    EXPECT_EQ(match(folder.fingerprint(), "sha256:norms", rule), BaseMatch::kTensors);
    EXPECT_EQ(match(folder.fingerprint(), "", rule), BaseMatch::kTensors);
    EXPECT_EQ(match("sha256:quantised", "sha256:norms", rule), BaseMatch::kNorms);
  }
  EXPECT_EQ(match("sha256:other", "sha256:others", BaseRule::kAny), BaseMatch::kOther);
  // The module is the same one, whatever it is loaded for.
  const auto fingerprint = [&](const ModuleBase& base) {
    return LoadMemoryModule(folder.folder().path(), base)->fingerprint;
  };
  EXPECT_EQ(fingerprint({folder.base(), "sha256:quantised", "sha256:norms"}),
            fingerprint({folder.base(), folder.fingerprint()}));
}

TEST(MemoryModuleTest, NormsThatTellNothingMatchNothing) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  json config = folder.Config();
  for (const char* of_module : {"", "sha256:norms"}) {
    config["base_norms"] = of_module;
    folder.SetConfig(config);
    const absl::Status status =
        LoadMemoryModule(folder.folder().path(), {folder.base(), "sha256:other", ""}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << of_module;
  }
}

TEST(MemoryModuleTest, NoRuleMakesOtherShapesFit) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  json config = folder.Config();
  config["hidden_size"] = 64;
  folder.SetConfig(config);
  const absl::Status status =
      LoadMemoryModule(folder.folder().path(), {folder.base(), "sha256:other", "", BaseRule::kAny}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("hidden_size 64, the model has 32"), std::string::npos) << status;
}

TEST(MemoryModuleTest, RefusesAModuleOfOtherShapesByName) {
  for (const char* key : {"num_layers", "hidden_size", "num_kv_heads", "head_dim"}) {
    const ModuleFolder folder(TinyMemory::kMemgate);
    json config = folder.Config();
    const int found = config[key];
    config[key] = 2 * found;
    folder.SetConfig(config);
    const absl::Status status = folder.Load().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << key;
    EXPECT_EQ(status.message(), folder.folder().path() + "/memory.json: the memory module was made for " +
                                    key + " " + std::to_string(2 * found) + ", the model has " +
                                    std::to_string(found));
  }
}

TEST(MemoryModuleTest, RefusesAnUnknownKindAndListsTheKnown) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  json config = folder.Config();
  config["kind"] = "titans";
  folder.SetConfig(config);
  const absl::Status status = folder.Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(
      status.message().find(
          "memory kind 'titans' is not supported; known: memgate, edgeinfinite, ahn, infini, infini-delta"),
      std::string::npos)
      << status;
}

TEST(MemoryModuleTest, RefusesMissingAndMisshapenTensorsByName) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  const std::vector<float> weight(2 * 32), bias(2);
  const auto tensors = [&] {
    std::vector<TensorToWrite> out;
    for (const std::string layer : {"layers.0.", "layers.1."}) {
      out.push_back(F32Tensor(layer + "retention.weight", {2, 32}, weight));
      out.push_back(F32Tensor(layer + "retention.bias", {2}, bias));
    }
    return out;
  };
  folder.folder().Write("memory.safetensors", SafetensorsImage(tensors()));
  ASSERT_TRUE(folder.Load().ok()) << folder.Load().status();
  for (size_t i = 0; i < 4; ++i) {
    auto missing = tensors();
    const std::string name = missing[i].name;
    missing.erase(missing.begin() + static_cast<int64_t>(i));
    folder.folder().Write("memory.safetensors", SafetensorsImage(missing));
    EXPECT_EQ(folder.Load().status().code(), absl::StatusCode::kNotFound) << name;
    EXPECT_NE(folder.Load().status().message().find(name), std::string::npos) << folder.Load().status();

    auto misshapen = tensors();
    misshapen[i].shape.insert(misshapen[i].shape.begin(), 1);
    folder.folder().Write("memory.safetensors", SafetensorsImage(misshapen));
    EXPECT_EQ(folder.Load().status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_NE(folder.Load().status().message().find(name), std::string::npos) << folder.Load().status();
  }
}

// Every tensor of a kind, one at a time: missing, misshapen, with a number that is not finite.
void ExpectEveryTensorChecked(const ModuleFolder& folder, const std::string& file,
                              const std::vector<TensorToWrite>& tensors) {
  folder.folder().Write(file, SafetensorsImage(tensors));
  ASSERT_TRUE(folder.Load().ok()) << folder.Load().status();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string name = tensors[i].name;
    if (name.ends_with(".D")) continue;  // published AHN modules carry it, nothing reads it
    const auto expect_refused = [&](absl::StatusCode code, std::vector<TensorToWrite> changed) {
      const std::string path = folder.folder().Write(file, SafetensorsImage(changed));
      const absl::Status status = folder.Load().status();
      EXPECT_EQ(status.code(), code) << name << ": " << status;
      EXPECT_NE(status.message().find("tensor \"" + name + "\" in " + path), std::string::npos) << status;
    };
    auto missing = tensors;
    missing.erase(missing.begin() + static_cast<int64_t>(i));
    expect_refused(absl::StatusCode::kNotFound, missing);
    auto misshapen = tensors;
    misshapen[i].shape.insert(misshapen[i].shape.begin(), 1);
    expect_refused(absl::StatusCode::kInvalidArgument, misshapen);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      auto broken = tensors;
      std::memcpy(broken[i].data.data() + broken[i].data.size() - sizeof(bad), &bad, sizeof(bad));
      expect_refused(absl::StatusCode::kInvalidArgument, broken);
    }
  }
}

TEST(MemoryModuleTest, MatrixIsReadWholeOrNotAtAll) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  ExpectEveryTensorChecked(folder, "memory.safetensors", MemgateMatrixTensors(folder.base()));
}

TEST(MemoryModuleTest, ModuleWithAMatrixGivesAVariantWithoutIt) {
  const ModuleFolder folder(TinyMemory::kMemgate);
  EXPECT_TRUE(folder.Load()->variants.empty());
  folder.folder().Write("memory.safetensors", SafetensorsImage(MemgateMatrixTensors(folder.base())));
  const auto module = folder.Load();
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->kind->name(), "memgate");
  EXPECT_EQ(module->kind->StateFloats(), 2 * 16 * 8);  // G, K = 2D, D
  EXPECT_EQ(module->kind->TokenFeatures(), 2);
  EXPECT_EQ(module->kind->Gates(1).size(), 4u);
  ASSERT_EQ(module->variants.size(), 1u);
  EXPECT_EQ(module->variants[0]->name(), "memgate-slots");
  EXPECT_EQ(module->variants[0]->StateFloats(), 0);
  EXPECT_EQ(module->variants[0]->TokenFeatures(), 1);
  EXPECT_TRUE(module->variants[0]->HasRetention());
}

TEST(MemoryModuleTest, EdgeInfiniteTakesItsInnerWidthFromTheShapes) {
  const ModuleFolder folder(TinyMemory::kInfini);
  json config = folder.Config();
  config["kind"] = "edgeinfinite";
  folder.SetConfig(config);
  ExpectEveryTensorChecked(folder, "memory.safetensors", EdgeInfiniteTensors(folder.base(), 3));
  folder.folder().Write("memory.safetensors", SafetensorsImage(EdgeInfiniteTensors(folder.base(), 9)));
  EXPECT_TRUE(folder.Load().ok()) << folder.Load().status();
  folder.folder().Write("memory.safetensors", SafetensorsImage(EdgeInfiniteTensors(folder.base(), 4097)));
  EXPECT_EQ(folder.Load().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MemoryModuleTest, InfiniTakesItsFeaturesFromTheShapes) {
  const ModuleFolder folder(TinyMemory::kInfiniDelta);
  const auto load = [&](int64_t features) {
    std::vector<TensorToWrite> tensors;
    for (const std::string layer : {"layers.0.infini.", "layers.1.infini."}) {
      tensors.push_back(F32Tensor(layer + "beta", {4}, std::vector<float>(4)));
      for (const auto& [name, heads] : {std::pair{"key_", 2}, {"query_", 4}}) {
        for (const char* part : {"scale", "shift"}) {
          tensors.push_back(
              F32Tensor(layer + name + part, {heads, features}, std::vector<float>(heads * features)));
        }
      }
    }
    folder.folder().Write("memory.safetensors", SafetensorsImage(tensors));
    return folder.Load();
  };
  for (const int64_t features : {8, 16, 64}) {
    const auto module = load(features);
    ASSERT_TRUE(module.ok()) << module.status();
    EXPECT_EQ(module->kind->StateFloats(), 2 * features * 9);
  }
  for (const int64_t features : {0, 4, 12, 72}) {
    const absl::Status status = load(features).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(status.message().find("layers.0.infini.key_scale"), std::string::npos) << status;
  }
}

TEST(MemoryModuleTest, NormaliserIsForTheDeltaRuleOnly) {
  for (const auto& [memory, normaliser, message] :
       {std::tuple{TinyMemory::kInfini, "sum", ""},
        {TinyMemory::kInfiniDelta, "sum", ""},
        {TinyMemory::kInfiniDelta, "length", ""},
        {TinyMemory::kInfini, "length", "'normaliser' is 'length'; kind 'infini' knows sum"},
        {TinyMemory::kInfiniDelta, "none",
         "'normaliser' is 'none'; kind 'infini-delta' knows sum, length"}}) {
    const ModuleFolder folder(memory);
    json config = folder.Config();
    config["normaliser"] = normaliser;
    folder.SetConfig(config);
    const absl::Status status = folder.Load().status();
    EXPECT_EQ(status.ok(), *message == '\0') << status;
    EXPECT_NE(status.message().find(message), std::string::npos) << status;
  }
}

// A published AHN checkpoint beside a tiny base of the shapes it claims.
class AhnFolder {
 public:
  AhnFolder() : base_(TinyMemory::kNone) {
    Write("model.safetensors", SafetensorsImage(AhnTensors(base_.base())));
    SetConfig(Config());
  }
  json Config() const {
    return {{"_ahn_implementation", "GatedDeltaNet"},
            {"sliding_window", 24},
            {"num_attn_sinks", 3},
            {"fa_layer_ids", ""},
            {"use_ahn_router", false},
            {"use_q_proj", false},
            {"hidden_size", 32},
            {"num_attention_heads", 4}};
  }
  void SetConfig(const json& config) const { Write("config.json", config.dump()); }
  void Write(const std::string& file, const std::string& bytes) const { folder_.Write(file, bytes); }
  absl::StatusOr<MemoryModule> Load() const {
    return LoadMemoryModule(folder_.path(), {base_.base(), base_.fingerprint()});
  }
  const TempFolder& folder() const { return folder_; }
  const ModelConfig& base() const { return base_.base(); }

 private:
  const ModuleFolder base_;
  const TempFolder folder_;
};

TEST(PublishedAhnTest, LoadsWithThePublishedGeometry) {
  const AhnFolder folder;
  EXPECT_TRUE(IsMemoryModuleFolder(folder.folder().path()));
  const auto module = folder.Load();
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->kind->name(), "ahn");
  EXPECT_EQ(module->kind->StateFloats(), 4 * 8 * 8);  // H, D, D
  EXPECT_EQ(module->kind->TokenFeatures(), 4);        // strength and decay of two query heads
  EXPECT_FALSE(module->kind->ClampsFarTokens());
  EXPECT_EQ(module->config.sink_tokens, 3);
  EXPECT_EQ(module->config.window_tokens, 23) << "a query sees 24 tokens with itself";
  EXPECT_EQ(module->config.segment_tokens, 1);
  EXPECT_EQ(module->config.salient_tokens, 0);
  EXPECT_EQ(module->config.base_fingerprint, "") << "the format names no base";
}

TEST(PublishedAhnTest, BytesLeaveOutTheBaseThatItMayBeMergedWith) {
  const AhnFolder folder;
  auto tensors = AhnTensors(folder.base());
  const auto alone = MemoryModuleBytes(folder.folder().path());
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_GT(*alone, 0);
  const std::vector<float> norm(32);
  tensors.push_back(F32Tensor("model.norm.weight", {32}, norm));
  folder.Write("model.safetensors", SafetensorsImage(tensors));
  EXPECT_EQ(*MemoryModuleBytes(folder.folder().path()), *alone);
}

// The same tensors under a memory.json, with another geometry and a base.
TEST(PublishedAhnTest, MemoryJsonTiesTheModuleToABase) {
  const ModuleFolder folder(TinyMemory::kInfini);
  json config = folder.Config();
  config["kind"] = "ahn";
  config["_ahn_implementation"] = "DeltaNet";
  folder.SetConfig(config);
  folder.folder().Write("memory.safetensors", SafetensorsImage(AhnTensors(folder.base())));
  const auto module = folder.Load();
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->kind->name(), "ahn");
  EXPECT_EQ(module->kind->TokenFeatures(), 2);  // no decay
  EXPECT_EQ(module->config.segment_tokens, 8);
  EXPECT_EQ(module->config.base_fingerprint, folder.fingerprint());
  config.erase("_ahn_implementation");
  folder.SetConfig(config);
  EXPECT_EQ(folder.Load().status().code(), absl::StatusCode::kUnimplemented);
}

TEST(PublishedAhnTest, EveryTensorIsChecked) {
  const AhnFolder folder;
  const std::vector<TensorToWrite> tensors = AhnTensors(folder.base());
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name.ends_with(".D")) continue;  // stored, but nothing reads it
    auto missing = tensors;
    missing.erase(missing.begin() + static_cast<int64_t>(i));
    folder.Write("model.safetensors", SafetensorsImage(missing));
    EXPECT_EQ(folder.Load().status().code(), absl::StatusCode::kNotFound) << tensors[i].name;
    EXPECT_NE(folder.Load().status().message().find(tensors[i].name), std::string::npos);
  }
}

TEST(PublishedAhnTest, WhatIsNotSupportedIsNamed) {
  const AhnFolder folder;
  const struct {
    const char* key;
    json value;
    absl::StatusCode code;
    const char* message;
  } table[] = {
      {"_ahn_implementation", "Mamba2", absl::StatusCode::kUnimplemented,
       "_ahn_implementation: 'Mamba2' is not supported; known: GatedDeltaNet, DeltaNet"},
      {"fa_layer_ids", "0,5", absl::StatusCode::kUnimplemented, "layers 0,5 would keep full attention"},
      {"fa_layer_ids", 3, absl::StatusCode::kInvalidArgument, "fa_layer_ids"},
      {"sliding_window", 1, absl::StatusCode::kInvalidArgument, "sliding_window"},
      {"sliding_window", nullptr, absl::StatusCode::kInvalidArgument, "sliding_window"},
      {"num_attn_sinks", -1, absl::StatusCode::kInvalidArgument, "num_attn_sinks"},
      {"use_ahn_router", "yes", absl::StatusCode::kInvalidArgument, "use_ahn_router"},
      {"use_ahn_router", true, absl::StatusCode::kNotFound, "model.layers.0.ahn_router.alpha"},
      {"use_q_proj", true, absl::StatusCode::kNotFound, "model.layers.0.ahn.fn.q_proj.weight"},
      {"hidden_size", 64, absl::StatusCode::kFailedPrecondition,
       "the AHN module was made for hidden_size 64, the model has 32"},
  };
  for (const auto& row : table) {
    json config = folder.Config();
    config[row.key] = row.value;
    folder.SetConfig(config);
    const absl::Status status = folder.Load().status();
    EXPECT_EQ(status.code(), row.code) << row.key << ": " << status;
    EXPECT_NE(status.message().find(row.message), std::string::npos) << status;
  }
}

TEST(MemoryModuleTest, ReadsHalfPrecisionWeights) {
  const ModuleFolder folder(TinyMemory::kInfini);
  const std::vector<float> betas = {0.5f, -1.0f, 2.0f, 0.0f};
  folder.folder().Write("memory.safetensors",
                        SafetensorsImage({BF16Tensor("layers.0.infini.beta", {4}, betas),
                                          BF16Tensor("layers.1.infini.beta", {4}, betas)}));
  EXPECT_TRUE(folder.Load().ok()) << folder.Load().status();
}

TEST(MemoryModuleTest, FingerprintFollowsTheWeights) {
  const ModuleFolder folder(TinyMemory::kInfini);
  const std::string before = folder.Load()->fingerprint;
  EXPECT_EQ(folder.Load()->fingerprint, before);
  const std::vector<float> betas(4, 1.0f);
  folder.folder().Write("memory.safetensors",
                        SafetensorsImage({F32Tensor("layers.0.infini.beta", {4}, betas),
                                          F32Tensor("layers.1.infini.beta", {4}, betas)}));
  EXPECT_NE(folder.Load()->fingerprint, before);
}

}  // namespace
}  // namespace memgate
