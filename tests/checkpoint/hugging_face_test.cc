#include "engine/checkpoint/hugging_face.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr char kConfig[] = R"({"architectures":["LlamaForCausalLM"],"num_hidden_layers":1,"hidden_size":4,
  "num_attention_heads":2,"intermediate_size":8,"vocab_size":16,"max_position_embeddings":32,"eos_token_id":2})";

class HuggingFaceFolderTest : public testing::Test {
 protected:
  HuggingFaceFolderTest() {
    folder_.Write("config.json", kConfig);
    folder_.Write("model.safetensors", SafetensorsImage({F32Tensor("w", {2}, {1, 2})}));
  }
  absl::StatusOr<Checkpoint> Open() { return OpenHuggingFaceFolder(folder_.path()); }
  std::string Message() { return std::string(Open().status().message()); }

  TempFolder folder_;
};

TEST_F(HuggingFaceFolderTest, OpensConfigAndTensors) {
  const auto checkpoint = Open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->config.head_dim, 2);
  EXPECT_THAT(checkpoint->tensors->Names(), ElementsAre("w"));
}

TEST_F(HuggingFaceFolderTest, TakesEosIdsFromConfigWithoutAGenerationConfig) {
  EXPECT_THAT(Open()->generation.eos_token_ids, ElementsAre(2));
}

TEST_F(HuggingFaceFolderTest, GenerationConfigComesFirstForEosIds) {
  folder_.Write("generation_config.json", R"({"eos_token_id":[3,5],"temperature":0.5})");
  EXPECT_THAT(Open()->generation.eos_token_ids, ElementsAre(3, 5));
  EXPECT_EQ(Open()->generation.temperature, 0.5f);
  folder_.Write("generation_config.json", R"({"temperature":0.5})");
  EXPECT_THAT(Open()->generation.eos_token_ids, ElementsAre(2));
}

TEST_F(HuggingFaceFolderTest, ToleratesAModelWithoutEosIds) {
  std::string config = kConfig;
  config.replace(config.find(",\"eos_token_id\":2"), 17, "");
  folder_.Write("config.json", config);
  EXPECT_THAT(Open()->generation.eos_token_ids, IsEmpty());
}

TEST_F(HuggingFaceFolderTest, RefusesEosIdsOutsideTheVocabulary) {
  folder_.Write("generation_config.json", R"({"eos_token_id":[3,16]})");
  EXPECT_EQ(Message(),
            folder_.File("generation_config.json") + ": eos_token_id: 16 is outside the vocabulary of 16");
  folder_.Write("generation_config.json", R"({"eos_token_id":15})");
  EXPECT_TRUE(Open().ok());
}

TEST_F(HuggingFaceFolderTest, LowersADefaultTopKToTheVocabulary) {
  folder_.Write("generation_config.json", R"({"top_k":50})");
  EXPECT_EQ(Open()->generation.top_k, 16);
}

TEST_F(HuggingFaceFolderTest, NamesTheFileAtFault) {
  folder_.Write("generation_config.json", "{");
  EXPECT_THAT(Message(), StartsWith(folder_.File("generation_config.json") + ": malformed JSON"));
  folder_.Write("config.json", "[]");
  EXPECT_THAT(Message(), StartsWith(folder_.File("config.json") + ": must be a JSON object"));
}

TEST_F(HuggingFaceFolderTest, FindsGemma3UnderEitherPrefix) {
  constexpr char kGemma3[] = R"({"architectures":["Gemma3ForConditionalGeneration"],"text_config":{
    "num_hidden_layers":1,"hidden_size":4,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":2,
    "intermediate_size":8,"vocab_size":16}})";
  folder_.Write("config.json", kGemma3);
  const auto prefix_with = [&](const std::string& embedding) {
    folder_.Write("model.safetensors",
                  SafetensorsImage({F32Tensor(embedding, {16, 4}, std::vector<float>(64))}));
    const auto checkpoint = Open();
    return checkpoint.ok() ? checkpoint->config.tensor_prefix + " " + checkpoint->config.head_tensor
                           : checkpoint.status().ToString();
  };
  EXPECT_EQ(prefix_with("language_model.model.embed_tokens.weight"),
            "language_model.model. language_model.lm_head");
  EXPECT_EQ(prefix_with("model.language_model.embed_tokens.weight"), "model.language_model. lm_head");
  EXPECT_EQ(prefix_with("elsewhere"), "language_model.model. language_model.lm_head");
}

TEST_F(HuggingFaceFolderTest, RefusesEveryTruncatedConfig) {
  const std::string config = kConfig;
  for (size_t bytes = 0; bytes < config.size(); ++bytes) {
    folder_.Write("config.json", config.substr(0, bytes));
    EXPECT_EQ(Open().status().code(), absl::StatusCode::kInvalidArgument) << bytes;
  }
}

TEST_F(HuggingFaceFolderTest, SaysWhichFileIsMissing) {
  std::filesystem::remove(folder_.File("model.safetensors"));
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(), HasSubstr("model.safetensors.index.json"));
  std::filesystem::remove(folder_.File("config.json"));
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(), StartsWith(folder_.File("config.json")));
}

class FingerprintTest : public testing::Test {
 protected:
  std::string Of(const std::vector<TensorToWrite>& tensors) {
    const auto source = OpenSafetensors(SafetensorsImage(tensors));
    const absl::StatusOr<std::string> fingerprint = Fingerprint(*source);
    EXPECT_TRUE(fingerprint.ok()) << fingerprint.status();
    return fingerprint.value_or("");
  }

 private:
  std::unique_ptr<TensorSource> OpenSafetensors(const std::string& image) {
    folder_.Write("config.json", kConfig);
    folder_.Write("model.safetensors", image);
    return std::move(OpenHuggingFaceFolder(folder_.path())->tensors);
  }

  TempFolder folder_;
};

TEST_F(FingerprintTest, HashesTheDocumentedBytes) {
  // Computed with Python's hashlib over
  //   b"a\0BF16\0" + struct.pack("<Q", 2) + bytes([0x80, 0x3f, 0x00, 0xc0])
  //   + b"b\0F32\0" + struct.pack("<QQ", 2, 1) + struct.pack("<ff", 1, 2).
  EXPECT_EQ(Of({F32Tensor("b", {2, 1}, {1, 2}), BF16Tensor("a", {2}, {1, -2})}),
            "sha256:9ffb9ccf553bf41b9fa84a35f04fe6a5e5d3cbc9713eced379df11a6d1e2bc7c");
}

TEST_F(FingerprintTest, OfNoTensorsIsTheHashOfNothing) {
  EXPECT_EQ(Of({}), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_F(FingerprintTest, IgnoresTheOrderInTheFile) {
  const TensorToWrite a = F32Tensor("a", {1}, {1}), b = F32Tensor("b", {1}, {2});
  EXPECT_EQ(Of({a, b}), Of({b, a}));
}

TEST_F(FingerprintTest, DependsOnNamesShapesTypesAndValues) {
  const std::string base = Of({F32Tensor("a", {2, 1}, {1, 2})});
  EXPECT_NE(Of({F32Tensor("b", {2, 1}, {1, 2})}), base);
  EXPECT_NE(Of({F32Tensor("a", {1, 2}, {1, 2})}), base);
  EXPECT_NE(Of({F32Tensor("a", {2}, {1, 2})}), base);
  EXPECT_NE(Of({F32Tensor("a", {2, 1}, {1, 3})}), base);
  const TensorToWrite f16{"a", "F16", {2}, "abcd"};
  const TensorToWrite bf16{"a", "BF16", {2}, "abcd"};
  EXPECT_NE(Of({f16}), Of({bf16}));
}

std::string SettingsOf(const ModelConfig& config) { return *ConfigFingerprint(config); }

TEST(ConfigFingerprintTest, DependsOnWhatIsComputedBesideTheTensors) {
  ModelConfig base;
  base.num_layers = 2;
  base.num_heads = base.num_kv_heads = 2;
  base.head_dim = 4;
  const std::string settings = SettingsOf(base);
  const std::function<void(ModelConfig&)> changes[] = {
      [](ModelConfig& c) { c.ropes[0].theta = 5e5; },
      [](ModelConfig& c) { c.ropes[0].linear_factor = 2; },
      [](ModelConfig& c) { c.ropes[0].rotated_dims = 2; },
      [](ModelConfig& c) { c.ropes[0].rotates = false; },
      [](ModelConfig& c) {
        c.ropes[0].divisors = {1.0f, 2.0f};
      },
      [](ModelConfig& c) { c.ropes[0].llama3 = Llama3RopeScaling(); },
      [](ModelConfig& c) { c.ropes[0].llama3 = Llama3RopeScaling{.factor = 32}; },
      [](ModelConfig& c) {
        c.ropes[0].longrope = LongRopeScaling{{1, 1}, {2, 2}};
      },
      [](ModelConfig& c) {
        c.ropes[0].longrope = LongRopeScaling{{1, 1}, {2, 3}};
      },
      [](ModelConfig& c) {
        c.layers = {{.window = 8}, {}};
      },
      [](ModelConfig& c) {
        c.layers = {{}, {.window = 8}};
      },
      [](ModelConfig& c) { c.rms_norm_eps = 1e-6f; },
      [](ModelConfig& c) { c.query_scalar = 8; },
      [](ModelConfig& c) { c.attention_softcap = 50; },
      [](ModelConfig& c) { c.embedding_scale = 2; },
      [](ModelConfig& c) { c.activation = Activation::kGeluTanh; },
      [](ModelConfig& c) { c.num_kv_heads = 1; },
  };
  std::set<std::string> found = {settings};
  for (const auto& change : changes) {
    ModelConfig other = base;
    change(other);
    EXPECT_TRUE(found.insert(SettingsOf(other)).second) << found.size();
  }
}

TEST(ConfigFingerprintTest, IsEqualForTheSameSaidOtherwise) {
  ModelConfig base;
  base.num_layers = 2;
  ModelConfig spelled = base;
  spelled.layers = {{}, {}};
  spelled.architecture = "MistralForCausalLM";
  spelled.max_position = 77;
  EXPECT_EQ(SettingsOf(spelled), SettingsOf(base));
}

// Sessions that were exported bear these; a change makes all of them strangers.
TEST(ConfigFingerprintTest, StaysWhatSnapshotsHold) {
  ModelConfig config;
  config.num_layers = 2;
  EXPECT_EQ(SettingsOf(config), "sha256:f884daff474a7e1ad2aa44443a17256ad3d4c5903ae0b268636d5b8969bd866b");
  config.ropes[0].llama3 = Llama3RopeScaling{.factor = 32};
  config.layers = {{.window = 8}, {}};
  EXPECT_EQ(SettingsOf(config), "sha256:d11a9ec9e1975b40116b5558798118239cab3a3098c713387bbd87ff1fa3bfab");
  config.ropes[0].llama3.reset();
  // As a folder and as a GGUF file has it.
  for (const double factor : {1.1902380714238083, 1.190238118171692}) {
    config.ropes[0].longrope = LongRopeScaling{{1, 1.1}, {2, 2.1}, 4096, factor};
    EXPECT_EQ(SettingsOf(config), "sha256:f59444f97d42a90ee53e0e1a23fba4ea78024f6e688bbc67c4509dd616484333")
        << factor;
  }
}

// A small published model, if the data folder lies beside the checkout.
TEST(PublishedModelTest, OpensAsItsConfigSays) {
  const std::string folder = MEMGATE_SOURCE_DIR "/../shared/data/models/stories260K-hf";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "skipped for lack of data: no " << folder;
  const absl::StatusOr<Checkpoint> checkpoint = OpenHuggingFaceFolder(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelConfig& config = checkpoint->config;
  EXPECT_EQ(config.num_layers, 5);
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.num_heads, 8);
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.vocab_size, 512);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_THAT(checkpoint->generation.eos_token_ids, ElementsAre(2, 1));
  EXPECT_EQ(checkpoint->generation.temperature, 0.0f);

  std::map<std::string, std::vector<int64_t>> expected = {{"model.embed_tokens.weight", {512, 64}},
                                                          {"model.norm.weight", {64}}};
  for (int layer = 0; layer < 5; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    expected[prefix + "input_layernorm.weight"] = {64};
    expected[prefix + "post_attention_layernorm.weight"] = {64};
    expected[prefix + "self_attn.q_proj.weight"] = {64, 64};
    expected[prefix + "self_attn.k_proj.weight"] = {32, 64};
    expected[prefix + "self_attn.v_proj.weight"] = {32, 64};
    expected[prefix + "self_attn.o_proj.weight"] = {64, 64};
    expected[prefix + "mlp.gate_proj.weight"] = {172, 64};
    expected[prefix + "mlp.up_proj.weight"] = {172, 64};
    expected[prefix + "mlp.down_proj.weight"] = {64, 172};
  }
  std::vector<std::string> names;
  for (const auto& [name, shape] : expected) {
    names.push_back(name);
    const absl::StatusOr<TensorView> view = FindShaped(*checkpoint->tensors, name, shape);
    EXPECT_TRUE(view.ok()) << view.status();
  }
  EXPECT_EQ(checkpoint->tensors->Names(), names);
  // training/safetensors_io.py computes the same.
  EXPECT_EQ(*Fingerprint(*checkpoint->tensors),
            "sha256:e7e2b4696cb3a8a80a5d32c01a23aed7cc25e210002d726f89a5a802855801cc");
}

}  // namespace
}  // namespace memgate
