#include "engine/memory/module.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/hugging_face.h"
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
    return LoadMemoryModule(folder_.path(), base_.config, fingerprint_);
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

TEST(MemoryModuleTest, FolderWithoutOneIsNotFound) {
  const ModuleFolder folder(TinyMemory::kNone);
  const absl::Status status = folder.Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), folder.folder().path() + "/memory.json: cannot be opened");
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
  const absl::Status status =
      LoadMemoryModule(folder.folder().path(), folder.base(), "sha256:other").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            folder.folder().path() +
                "/memory.json: the memory module was trained on another model: base_fingerprint is " +
                folder.fingerprint() + ", the model's is sha256:other");
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
      status.message().find("memory kind 'titans' is not supported; known: memgate, infini, infini-delta"),
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

json GoodConfig() {
  return {{"format", "memgate-memory"},
          {"version", 1},
          {"kind", "memgate"},
          {"base_fingerprint", "sha256:x"},
          {"num_layers", 2},
          {"hidden_size", 32},
          {"num_kv_heads", 2},
          {"head_dim", 8},
          {"sink_tokens", 0},
          {"window_tokens", 16},
          {"segment_tokens", 8},
          {"salient_tokens", 0}};
}

TEST(MemoryModuleConfigTest, EveryMalformedFieldIsNamed) {
  ASSERT_TRUE(ParseMemoryModuleConfig(GoodConfig().dump()).ok());
  const struct {
    const char* key;
    json value;
    const char* message;
  } table[] = {
      {"format", "gguf", "'format' must be 'memgate-memory'"},
      {"format", 1, "'format' must be a string"},
      {"version", 2, "'version' is 2; it must be in [1, 1]"},
      {"version", 0, "'version' is 0; it must be in [1, 1]"},
      {"version", "1", "'version' must be an integer"},
      {"kind", nullptr, "'kind' must be a string"},
      {"base_fingerprint", json::array(), "'base_fingerprint' must be a string"},
      {"num_layers", 0, "'num_layers' is 0; it must be in [1, 16777216]"},
      {"hidden_size", -32, "'hidden_size' is -32; it must be in [1, 16777216]"},
      {"num_kv_heads", 2.0, "'num_kv_heads' must be an integer"},
      {"head_dim", 16777217, "'head_dim' is 16777217; it must be in [1, 16777216]"},
      {"sink_tokens", -1, "'sink_tokens' is -1; it must be in [0, 16777216]"},
      {"window_tokens", 0, "'window_tokens' is 0; it must be in [1, 16777216]"},
      {"segment_tokens", 0, "'segment_tokens' is 0; it must be in [1, 16777216]"},
      {"salient_tokens", 1e30, "'salient_tokens' must be an integer"},
      {"salient_tokens", 18446744073709551615u,
       "'salient_tokens' is 18446744073709551615; it must be in [0, 16777216]"},
      {"salient_tokens", -9223372036854775807,
       "'salient_tokens' is -9223372036854775807; it must be in [0, 16777216]"},
  };
  for (const auto& row : table) {
    json config = GoodConfig();
    config[row.key] = row.value;
    const absl::Status status = ParseMemoryModuleConfig(config.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.key;
    EXPECT_EQ(std::string(status.message()), row.message);
  }
}

TEST(MemoryModuleConfigTest, EveryFieldIsRequired) {
  const json good = GoodConfig();
  for (const auto& [key, value] : good.items()) {
    json config = good;
    config.erase(key);
    const absl::Status status = ParseMemoryModuleConfig(config.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_NE(status.message().find("'" + key + "' must be"), std::string::npos) << status;
  }
}

TEST(MemoryModuleConfigTest, TextThatIsNoObjectIsRefused) {
  for (const std::string text : {"", "null", "[]", "{", "{} x", "\xFF\xFE", "1e999",
                                 "{\"kind\": \"\xC3\x28\"}", "{\"version\": 1, \"version\": 1}"}) {
    EXPECT_EQ(ParseMemoryModuleConfig(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ParseMemoryModuleConfig(std::string(100'000, '[')).ok());
}

}  // namespace
}  // namespace memgate
