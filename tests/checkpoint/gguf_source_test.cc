#include "engine/checkpoint/gguf_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "engine/checkpoint/gguf_config.h"
#include "engine/checkpoint/hugging_face.h"
#include "tests/support/gguf_model.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kTypeIq1S = 19;

std::string Zeros(size_t bytes) { return std::string(bytes, '\0'); }

// One layer, C = 8, two heads of 4, V = 3; nothing but what is required.
GgufWriter Bare(const std::string& architecture = "llama") {
  const std::string a = architecture + ".";
  return GgufWriter()
      .Text("general.architecture", architecture)
      .U32(a + "block_count", 1)
      .U32(a + "context_length", 64)
      .U32(a + "embedding_length", 8)
      .U32(a + "feed_forward_length", 16)
      .U32(a + "attention.head_count", 2)
      .F32(a + "attention.layer_norm_rms_epsilon", 1e-5f)
      .Tensor("token_embd.weight", {3, 8}, kF32, Zeros(96));
}

class GgufSourceTest : public testing::Test {
 protected:
  absl::StatusOr<Checkpoint> Open(const GgufWriter& writer) {
    return OpenCheckpoint(folder_.Write("model.gguf", writer.Image()));
  }

  TempFolder folder_;
};

TEST_F(GgufSourceTest, DefaultsAreThoseOfTheFormat) {
  const auto checkpoint = Open(Bare("qwen3"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelConfig& config = checkpoint->config;
  EXPECT_EQ(config.architecture, "Qwen3ForCausalLM");
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.vocab_size, 3);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.ropes[0].theta, 10000.0);
  EXPECT_EQ(config.ropes[0].linear_factor, 1.0);
  EXPECT_TRUE(config.ropes[0].divisors.empty());
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_TRUE(config.qk_norm);
  EXPECT_TRUE(checkpoint->generation.eos_token_ids.empty());
}

TEST_F(GgufSourceTest, TheConfigIsThatOfTheFolder) {
  for (const TinyArchitecture architecture :
       {TinyArchitecture::kLlama, TinyArchitecture::kQwen2, TinyArchitecture::kQwen3}) {
    const std::string model =
        WriteTinyModel(folder_.File("model"), {.architecture = architecture, .tied = true});
    const auto original = OpenHuggingFaceFolder(model);
    const auto checkpoint = Open(GgufOfFolder(model));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const ModelConfig &found = checkpoint->config, &expected = original->config;
    EXPECT_EQ(found.architecture, expected.architecture);
    EXPECT_EQ(found.num_layers, expected.num_layers);
    EXPECT_EQ(found.hidden_size, expected.hidden_size);
    EXPECT_EQ(found.num_heads, expected.num_heads);
    EXPECT_EQ(found.num_kv_heads, expected.num_kv_heads);
    EXPECT_EQ(found.head_dim, expected.head_dim);
    EXPECT_EQ(found.intermediate_size, expected.intermediate_size);
    EXPECT_EQ(found.vocab_size, expected.vocab_size);
    EXPECT_EQ(found.max_position, expected.max_position);
    EXPECT_EQ(found.rms_norm_eps, expected.rms_norm_eps);
    EXPECT_EQ(found.ropes[0].theta, expected.ropes[0].theta);
    EXPECT_EQ(found.qkv_bias, expected.qkv_bias);
    EXPECT_EQ(found.qk_norm, expected.qk_norm);
    EXPECT_EQ(found.tied_embeddings, expected.tied_embeddings);
    EXPECT_EQ(checkpoint->tensors->Names(), original->tensors->Names());
  }
}

TEST_F(GgufSourceTest, RopeScalesLinearlyUnderEitherKey) {
  EXPECT_EQ(Open(Bare().F32("llama.rope.scaling.factor", 4))->config.ropes[0].linear_factor, 4.0);
  EXPECT_EQ(Open(Bare().F32("llama.rope.scale_linear", 2))->config.ropes[0].linear_factor, 2.0);
  EXPECT_EQ(Open(Bare().Text("llama.rope.scaling.type", "none").F32("llama.rope.scaling.factor", 4))
                ->config.ropes[0]
                .linear_factor,
            1.0);
}

TEST_F(GgufSourceTest, LongRopeIsReadFromItsTensors) {
  const std::string factors(reinterpret_cast<const char*>(std::vector<float>{1.5f, 4.0f}.data()), 8);
  const auto checkpoint = Open(Bare("phi3")
                                   .U32("phi3.rope.scaling.original_context_length", 16)
                                   .F32("phi3.rope.scaling.attn_factor", 1.25f)
                                   .U32("phi3.attention.sliding_window", 0)  // none
                                   .Tensor("rope_factors_short.weight", {2}, kF32, factors)
                                   .Tensor("rope_factors_long.weight", {2}, kF32, factors));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE(checkpoint->config.layers.empty());
  ASSERT_TRUE(checkpoint->config.ropes[0].longrope.has_value());
  const LongRopeScaling& longrope = *checkpoint->config.ropes[0].longrope;
  EXPECT_EQ(longrope.original_max_position, 16);
  EXPECT_EQ(longrope.attention_factor, 1.25);
  EXPECT_THAT(longrope.short_factors, ElementsAre(1.5, 4.0));
  EXPECT_THAT(longrope.long_factors, ElementsAre(1.5, 4.0));
}

TEST_F(GgufSourceTest, PhiMayRotateAPartOfEachHead) {
  const std::string factor(reinterpret_cast<const char*>(std::vector<float>{1.5f}.data()), 4);
  const auto checkpoint = Open(Bare("phi3")
                                   .U32("phi3.rope.dimension_count", 2)
                                   .U32("phi3.rope.scaling.original_context_length", 16)
                                   .Tensor("rope_factors_short.weight", {1}, kF32, factor)
                                   .Tensor("rope_factors_long.weight", {1}, kF32, factor));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->config.ropes[0].rotated_dims, 2);
  EXPECT_THAT(checkpoint->config.ropes[0].longrope->long_factors, ElementsAre(1.5));
}

TEST_F(GgufSourceTest, GemmaIsWhatItsReadersTakeItFor) {
  const auto without_window = Open(Bare("gemma3"));
  ASSERT_TRUE(without_window.ok()) << without_window.status();
  EXPECT_TRUE(without_window->config.layers.empty() || without_window->config.layers[0].window == 0);
  EXPECT_EQ(without_window->config.norm_offset, 0.0f);
  EXPECT_EQ(without_window->config.query_scalar, 4.0);  // the size of a head
  EXPECT_EQ(without_window->config.ropes[0].theta, 10000.0);
  const auto with_window = Open(Bare("gemma3").U32("gemma3.attention.sliding_window", 16));
  EXPECT_EQ(with_window->config.layers[0].window, 16);
  EXPECT_EQ(with_window->config.layers[0].rope, 1);
  // The 27B models divide by the width of a head's share instead.
  const auto gemma2 = Open(GgufWriter()
                               .Text("general.architecture", "gemma2")
                               .U32("gemma2.block_count", 46)
                               .U32("gemma2.context_length", 64)
                               .U32("gemma2.embedding_length", 12)
                               .U32("gemma2.feed_forward_length", 16)
                               .U32("gemma2.attention.head_count", 2)
                               .U32("gemma2.attention.key_length", 4)
                               .F32("gemma2.attention.layer_norm_rms_epsilon", 1e-6f)
                               .F32("gemma2.attn_logit_softcapping", 50)
                               .Tensor("token_embd.weight", {3, 12}, kF32, Zeros(144)));
  ASSERT_TRUE(gemma2.ok()) << gemma2.status();
  EXPECT_EQ(gemma2->config.query_scalar, 6.0);
  EXPECT_EQ(gemma2->config.attention_softcap, 50.0f);
  EXPECT_EQ(gemma2->config.layers[0].window, 4096);
}

TEST_F(GgufSourceTest, TheVocabularyIsWhatTheMetadataSays) {
  const auto checkpoint = Open(Bare()
                                   .Text("tokenizer.ggml.model", "llama")
                                   .Text("tokenizer.ggml.pre", "default")
                                   .Texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "a"})
                                   .F32s("tokenizer.ggml.scores", {0, 0, -1.5f})
                                   .I32s("tokenizer.ggml.token_type", {2, 3, 1})
                                   .Texts("tokenizer.ggml.merges", {"a b"})
                                   .U32("tokenizer.ggml.bos_token_id", 1)
                                   .U32("tokenizer.ggml.eos_token_id", 2)
                                   .U32("tokenizer.ggml.padding_token_id", 0xffffffff)
                                   .Bool("tokenizer.ggml.add_bos_token", true)
                                   .Bool("tokenizer.ggml.add_space_prefix", false)
                                   .Texts("tokenizer.chat_templates", {"tool_use"})
                                   .Text("tokenizer.chat_template.tool_use", "{{ tools }}")
                                   .Text("tokenizer.chat_template", "{{ messages }}"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_TRUE(checkpoint->vocabulary.has_value());
  const GgufVocabulary& vocabulary = *checkpoint->vocabulary;
  EXPECT_EQ(vocabulary.model, "llama");
  EXPECT_EQ(vocabulary.pre, "default");
  EXPECT_THAT(vocabulary.tokens, ElementsAre("<unk>", "<s>", "a"));
  EXPECT_THAT(vocabulary.scores, ElementsAre(0, 0, -1.5f));
  EXPECT_THAT(vocabulary.types, ElementsAre(2, 3, 1));
  EXPECT_THAT(vocabulary.merges, ElementsAre("a b"));
  EXPECT_EQ(vocabulary.bos_id, 1);
  EXPECT_EQ(vocabulary.eos_id, 2);
  EXPECT_EQ(vocabulary.eot_id, std::nullopt);
  EXPECT_EQ(vocabulary.padding_id, std::nullopt);  // 2^32 - 1 means that there is none
  EXPECT_EQ(vocabulary.add_bos, true);
  EXPECT_EQ(vocabulary.add_eos, std::nullopt);
  EXPECT_EQ(vocabulary.add_space_prefix, false);
  EXPECT_THAT(vocabulary.chat_templates, ElementsAre(testing::Pair("default", "{{ messages }}"),
                                                     testing::Pair("tool_use", "{{ tools }}")));
}

TEST_F(GgufSourceTest, SamplingDefaultsAreThoseOfTheFile) {
  const auto checkpoint = Open(Bare()
                                   .U32("tokenizer.ggml.eos_token_id", 1)
                                   .F32("general.sampling.temp", 0.5f)
                                   .I32("general.sampling.top_k", 20)
                                   .F32("general.sampling.top_p", 0.75f));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->generation.temperature, 0.5f);
  EXPECT_EQ(checkpoint->generation.top_k, 3);  // no more than there are tokens
  EXPECT_EQ(checkpoint->generation.top_p, 0.75f);
  EXPECT_EQ(checkpoint->generation.repetition_penalty, std::nullopt);
  EXPECT_THAT(checkpoint->generation.eos_token_ids, testing::IsEmpty());  // the tokenizer tells
}

TEST_F(GgufSourceTest, OnlyThisTensorIsLostToAnUnsupportedType) {
  const auto checkpoint = Open(Bare()
                                   .Tensor("output_norm.weight", {8}, kF32, Zeros(32))
                                   .TensorAt("blk.0.attn_v.weight", {8, 256}, kTypeIq1S, 0));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(checkpoint->tensors->Names(), ElementsAre("model.embed_tokens.weight", "model.norm.weight"));
  const auto view = checkpoint->tensors->Find("model.layers.0.self_attn.v_proj.weight");
  EXPECT_EQ(view.status().code(), absl::StatusCode::kUnimplemented);
  const std::string path = folder_.File("model.gguf");
  EXPECT_EQ(view.status().message(),
            "tensor \"blk.0.attn_v.weight\" in " + path + " has type IQ1_S, which is not supported");
  const absl::Status missing = checkpoint->tensors->Find("lm_head.weight").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.message(), "no tensor \"output.weight\" in " + path);
}

// Of every architecture: what is there, and what would have been.
TEST_F(GgufSourceTest, MessagesHaveTheNamesOfTheFile) {
  for (const TinyArchitecture architecture : kTinyArchitectures) {
    const TempFolder folder;
    const std::string model = WriteTinyModel(folder.File("model"), {.architecture = architecture});
    const std::string image = GgufOfFolder(model).Image();
    const std::string path = folder_.Write("model.gguf", image);
    const auto checkpoint = OpenGgufFile(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto file = ParseGguf(AsBytes(image));
    ASSERT_TRUE(file.ok()) << file.status();
    std::set<std::string> in_file, described;
    for (const GgufTensor& tensor : file->tensors) {
      if (!tensor.name.starts_with("rope_")) in_file.insert("tensor \"" + tensor.name + "\" in " + path);
    }
    for (const std::string& name : checkpoint->tensors->Names()) {
      described.insert(checkpoint->tensors->Describe(name));
    }
    EXPECT_EQ(described, in_file);
    EXPECT_EQ(checkpoint->tensors->Describe("model.layers.7.input_layernorm.weight"),
              "tensor \"blk.7.attn_norm.weight\" in " + path);
    for (const char* unknown : {"model.layers.", "model.layers.3", "model.layers.3.mlp.router", "x"}) {
      EXPECT_EQ(checkpoint->tensors->Describe(unknown), std::string("tensor \"") + unknown + "\" in " + path);
    }
  }
}

struct Refused {
  const char* name;
  std::function<GgufWriter()> writer;
  absl::StatusCode code;
  const char* message;
};

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

const Refused kRefused[] = {
    {"Architecture", [] { return Bare("mamba"); }, kUnimplemented,
     "key \"general.architecture\": \"mamba\" is not supported; supported are "},
    {"NoArchitecture", [] { return GgufWriter(); }, kUnimplemented, "key \"general.architecture\": \"\""},
    {"Split", [] { return Bare().Raw("split.count", 2, std::string("\2\0", 2)); }, kUnimplemented,
     "key \"split.count\": one part of a split file"},
    {"Layers", [] { return Bare().U32("x", 0).U32("llama.attention.head_count_kv", 3); }, kInvalid,
     "key \"llama.attention.head_count_kv\": 3 does not divide"},
    {"TextForANumber", [] { return Bare().Text("llama.attention.key_length", "4"); }, kInvalid,
     "key \"llama.attention.key_length\": must be an integer"},
    {"OddHeads", [] { return Bare().U32("llama.attention.key_length", 5); }, kInvalid,
     "key \"llama.attention.key_length\": must be even"},
    {"ValueSize", [] { return Bare().U32("llama.attention.value_length", 8); }, kUnimplemented,
     "key \"llama.attention.value_length\": values of another size (8) than keys (4)"},
    {"Yarn",
     [] { return Bare().Text("llama.rope.scaling.type", "yarn").F32("llama.rope.scaling.factor", 4); },
     kUnimplemented, "key \"llama.rope.scaling.type\": \"yarn\" is not supported"},
    {"RopeTypeOfBadBytes", [] { return Bare().Text("llama.rope.scaling.type", "\xff"); }, kUnimplemented,
     "key \"llama.rope.scaling.type\": "},
    {"LongRopeWithoutFactors", [] { return Bare().Text("llama.rope.scaling.type", "longrope"); }, kInvalid,
     "tensor \"rope_factors_short.weight\": must be there for longrope"},
    {"Experts", [] { return Bare().U32("llama.expert_count", 8); }, kUnimplemented,
     "key \"llama.expert_count\": mixtures of experts"},
    {"Required",
     [] {
       return GgufWriter()
           .Text("general.architecture", "llama")
           .Tensor("token_embd.weight", {3, 8}, kF32, Zeros(96));
     },
     kInvalid, "key \"llama.block_count\": is required"},
    {"PartialRotation", [] { return Bare().U32("llama.rope.dimension_count", 2); }, kUnimplemented,
     "key \"llama.rope.dimension_count\": rotating a part"},
    {"NoEmbedding", [] { return GgufWriter().Text("general.architecture", "llama"); }, kInvalid,
     "tensor \"token_embd.weight\": must be there"},
    {"UnknownTensor", [] { return Bare().Tensor("blk.0.attn_q.bias", {8}, kF32, Zeros(32)); }, kUnimplemented,
     "tensor \"blk.0.attn_q.bias\": is not part of a llama model"},
    {"PartOfAFusedTensor",
     [] {
       return Bare("phi3").Tensor("blk.0.attn_q.weight", {8, 8}, kF32, Zeros(256));
     },
     kUnimplemented, "tensor \"blk.0.attn_q.weight\": is not part of a phi3 model"},
    {"GateOfAFusedTensor",
     [] {
       return Bare("phi3").Tensor("blk.0.ffn_gate.weight", {16, 8}, kF32, Zeros(512));
     },
     kUnimplemented, "tensor \"blk.0.ffn_gate.weight\": is not part of a phi3 model"},
    {"HugeText", [] { return Bare().Text("tokenizer.chat_template", std::string((16 << 20) + 1, 'x')); },
     kInvalid, "key \"tokenizer.chat_template\": has 16777217 bytes, at most 16777216"},
    {"UnknownOuterTensor", [] { return Bare().Tensor("output.bias", {3}, kF32, Zeros(12)); }, kUnimplemented,
     "tensor \"output.bias\": is not part of a llama model"},
    {"Layer",
     [] {
       return Bare().Tensor("blk.1.attn_v.weight", {8, 8}, kF32, Zeros(256));
     },
     kInvalid, "tensor \"blk.1.attn_v.weight\": there are only 1 layers"},
    {"SameLayerTwice",
     [] {
       return Bare()
           .Tensor("blk.0.attn_v.weight", {8, 8}, kF32, Zeros(256))
           .Tensor("blk.00.attn_v.weight", {8, 8}, kF32, Zeros(256));
     },
     kInvalid, "tensor \"blk.00.attn_v.weight\": another one has its place"},
    {"PartOfAHead",
     [] {
       return Bare().Tensor("blk.0.attn_q.weight", {6, 8}, kF32, Zeros(192));
     },
     kInvalid, "tensor \"blk.0.attn_q.weight\": its 6 rows are no whole heads of 4"},
    {"RopeDivisorsShape", [] { return Bare().Tensor("rope_freqs.weight", {3}, kF32, Zeros(12)); }, kInvalid,
     "tensor \"rope_freqs.weight\": must be F32 of shape [2], found F32 of shape [3]"},
    {"RopeDivisorsZero", [] { return Bare().Tensor("rope_freqs.weight", {2}, kF32, Zeros(8)); }, kInvalid,
     "tensor \"rope_freqs.weight\": must hold positive finite numbers"},
    {"Sampling", [] { return Bare().F32("general.sampling.top_p", 2); }, kInvalid, "top_p: must be a number"},
    {"Tokens", [] { return Bare().Text("tokenizer.ggml.tokens", "a"); }, kInvalid,
     "key \"tokenizer.ggml.tokens\": must be an array"},
};

class RefusedGgufTest : public testing::TestWithParam<Refused> {};

TEST_P(RefusedGgufTest, IsNamedWithFileAndReason) {
  const TempFolder folder;
  const std::string path = folder.Write("m.gguf", GetParam().writer().Image());
  const auto checkpoint = OpenCheckpoint(path);
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_EQ(checkpoint.status().code(), GetParam().code) << checkpoint.status();
  EXPECT_THAT(std::string(checkpoint.status().message()), StartsWith(path + ": "));
  EXPECT_THAT(std::string(checkpoint.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Models, RefusedGgufTest, testing::ValuesIn(kRefused),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(GgufSourceTest, OtherFilesAndPathsAreNamed) {
  const auto other = OpenCheckpoint(folder_.Write("notes.txt", "hello"));
  EXPECT_EQ(other.status().code(), kInvalid);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("notes.txt: not a GGUF file"));
  const auto nowhere = OpenCheckpoint(folder_.File("nowhere.gguf"));
  EXPECT_EQ(nowhere.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(nowhere.status().message()), HasSubstr("nowhere.gguf: no such file"));
}

TEST_F(GgufSourceTest, TheNameIsTheLastComponentAndFilesOfTheModelLieBesideIt) {
  EXPECT_EQ(CheckpointName("/models/tiny"), "tiny");
  EXPECT_EQ(CheckpointName("/models/tiny/"), "tiny");
  EXPECT_EQ(CheckpointName("/models/tiny-1.5B.Q4_K_M.gguf"), "tiny-1.5B.Q4_K_M");
  EXPECT_EQ(CheckpointName("qwen2.5"), "qwen2.5");
  const std::string file = folder_.Write("m.gguf", "");
  EXPECT_EQ(CheckpointFolder(file), folder_.path());
  EXPECT_EQ(CheckpointFolder(folder_.path()), folder_.path());
  EXPECT_EQ(CheckpointFolder("m.gguf"), ".");
}

}  // namespace
}  // namespace memgate
