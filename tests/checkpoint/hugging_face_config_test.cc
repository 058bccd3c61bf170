#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/json_util.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json Minimal(const char* architecture) {
  return {{"architectures", {architecture}}, {"num_hidden_layers", 2},  {"hidden_size", 64},
          {"num_attention_heads", 4},        {"intermediate_size", 96}, {"vocab_size", 128},
          {"max_position_embeddings", 2048}};
}

json With(json config, const json& changes) {
  config.merge_patch(changes);  // a null removes the key
  return config;
}

json Llama(const json& changes = json::object()) { return With(Minimal("LlamaForCausalLM"), changes); }

// Sets `key` also to null, which merge_patch cannot.
json Llama(const char* key, const json& value) {
  json config = Minimal("LlamaForCausalLM");
  config[key] = value;
  return config;
}

ModelConfig Parsed(const json& config) {
  const absl::StatusOr<ModelConfig> parsed = ParseModelConfig(config.dump());
  EXPECT_TRUE(parsed.ok()) << parsed.status() << " " << config;
  return parsed.value_or(ModelConfig{});
}

void ExpectError(const json& config, absl::StatusCode code, const std::string& message) {
  const absl::Status status = ParseModelConfig(config.dump()).status();
  EXPECT_EQ(status.code(), code) << config;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << config;
}

void ExpectInvalid(const json& config, const std::string& message) {
  ExpectError(config, absl::StatusCode::kInvalidArgument, message);
}

void ExpectUnsupported(const json& config, const std::string& message) {
  ExpectError(config, absl::StatusCode::kUnimplemented, message);
}

TEST(ModelConfigTest, FillsInDefaults) {
  const ModelConfig config = Parsed(Llama());
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.num_layers, 2);
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.num_heads, 4);
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.intermediate_size, 96);
  EXPECT_EQ(config.vocab_size, 128);
  EXPECT_EQ(config.max_position, 2048);
  EXPECT_EQ(config.sliding_window(), 0);
  EXPECT_EQ(config.rms_norm_eps, 1e-6f);
  EXPECT_EQ(config.ropes[0].theta, 10000.0);
  EXPECT_EQ(config.ropes[0].linear_factor, 1.0);
  EXPECT_FALSE(config.ropes[0].llama3.has_value());
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_FALSE(config.qk_norm);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ(config.group_size(), 1);
}

TEST(ModelConfigTest, ReadsWhatIsGiven) {
  const ModelConfig config = Parsed(Llama({{"num_key_value_heads", 2},
                                           {"head_dim", 32},
                                           {"rms_norm_eps", 1e-5},
                                           {"rope_theta", 500000},
                                           {"hidden_act", "silu"},
                                           {"attention_bias", false},
                                           {"mlp_bias", false},
                                           {"tie_word_embeddings", true}}));
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.group_size(), 2);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.ropes[0].theta, 500000.0);
  EXPECT_TRUE(config.tied_embeddings);
}

TEST(ModelConfigTest, NullMeansAbsent) {
  for (const char* key : {"num_key_value_heads", "head_dim", "rope_scaling", "rope_parameters", "rope_theta",
                          "sliding_window", "quantization_config", "hidden_act", "tie_word_embeddings"}) {
    EXPECT_EQ(Parsed(Llama(key, nullptr)).head_dim, 16) << key;
  }
}

TEST(ModelConfigTest, FamiliesDifferInBiasAndNorm) {
  EXPECT_FALSE(Parsed(Minimal("MistralForCausalLM")).qkv_bias);
  const ModelConfig qwen2 = Parsed(Minimal("Qwen2ForCausalLM"));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.qk_norm);
  EXPECT_EQ(qwen2.head_dim, 16);
  const ModelConfig qwen3 = Parsed(Minimal("Qwen3ForCausalLM"));
  EXPECT_FALSE(qwen3.qkv_bias);
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 128);  // that family's default
  EXPECT_EQ(Parsed(With(Minimal("Qwen3ForCausalLM"), {{"head_dim", 64}})).head_dim, 64);
}

TEST(ModelConfigTest, Qwen2HasItsBiasesWhateverAttentionBiasSays) {
  EXPECT_TRUE(Parsed(With(Minimal("Qwen2ForCausalLM"), {{"attention_bias", false}})).qkv_bias);
}

TEST(ModelConfigTest, NamesAnUnsupportedArchitectureAndThoseThatAre) {
  ExpectUnsupported(Minimal("GPT2LMHeadModel"), "\"GPT2LMHeadModel\" is not supported");
  ExpectUnsupported(Minimal("GPT2LMHeadModel"), "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM");
  ExpectInvalid(Llama("architectures", nullptr), "architectures: must be a list of one name");
  ExpectInvalid(Llama("architectures", json::array()), "architectures: must be a list of one name");
  ExpectInvalid(Llama("architectures", {"LlamaForCausalLM", "x"}),
                "architectures: must be a list of one name");
  ExpectInvalid(Llama("architectures", "LlamaForCausalLM"), "architectures: must be a list of one name");
  ExpectInvalid(Llama("architectures", {3}), "architectures: must be a list of one name");
}

TEST(ModelConfigTest, RefusesTextThatIsNoObject) {
  for (const char* text : {"", "[]", "3", "{", "nonsense", "{\"a\":1}x"}) {
    EXPECT_EQ(ParseModelConfig(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(std::string(ParseModelConfig("{\"a\":1,\"a\":2}").status().message()),
              HasSubstr("appears twice"));
}

TEST(ModelConfigTest, RefusesDeepNesting) {
  const std::string deep = "{\"x\":" + std::string(1'000'000, '[');
  EXPECT_THAT(std::string(ParseModelConfig(deep).status().message()), HasSubstr("nested deeper than 16"));
}

TEST(ModelConfigTest, RequiresEveryDimension) {
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size",
                          "vocab_size", "max_position_embeddings"}) {
    json config = Llama();
    config.erase(key);
    ExpectInvalid(config, std::string(key) + ": is required");
  }
}

TEST(ModelConfigTest, BoundsEveryDimension) {
  struct Bound {
    const char* key;
    int64_t above;  // one past the limit
  };
  const Bound bounds[] = {{"num_hidden_layers", 1025},
                          {"hidden_size", (1 << 17) + 1},
                          {"num_attention_heads", 1025},
                          {"num_key_value_heads", 1025},
                          {"head_dim", 1025},
                          {"intermediate_size", (1 << 20) + 1},
                          {"vocab_size", (1 << 22) + 1},
                          {"max_position_embeddings", (int64_t{1} << 40) + 1}};
  for (const Bound& bound : bounds) {
    for (const json& value : {json(0), json(-1), json(bound.above), json(1e300), json(2.0), json("2"),
                              json(true), json(std::numeric_limits<uint64_t>::max()), json::array({2})}) {
      ExpectInvalid(Llama(bound.key, value), std::string(bound.key) + ": must be an integer within 1..");
    }
  }
}

TEST(ModelConfigTest, AcceptsTheLargestDimensions) {
  const ModelConfig config = Parsed(Llama({{"num_hidden_layers", 1024},
                                           {"hidden_size", 1 << 17},
                                           {"num_attention_heads", 1024},
                                           {"head_dim", 1024},
                                           {"intermediate_size", 1 << 20},
                                           {"vocab_size", 1 << 22},
                                           {"max_position_embeddings", int64_t{1} << 40}}));
  EXPECT_EQ(config.num_heads * config.head_dim, 1 << 20);
}

TEST(ModelConfigTest, ChecksHowHeadsDivide) {
  ExpectInvalid(Llama({{"num_key_value_heads", 3}}), "num_key_value_heads: 3 does not divide");
  ExpectInvalid(Llama({{"num_key_value_heads", 8}}), "num_key_value_heads: 8 does not divide");
  ExpectInvalid(Llama({{"hidden_size", 66}}), "hidden_size: 66 is no multiple of num_attention_heads");
  EXPECT_EQ(Parsed(Llama({{"hidden_size", 66}, {"head_dim", 16}})).head_dim, 16);
  ExpectInvalid(Llama({{"head_dim", 15}}), "head_dim: must be even");
  ExpectInvalid(Llama({{"hidden_size", 60}}), "head_dim: must be even and within 2..1024, found 15");
  ExpectInvalid(Llama({{"hidden_size", 8192}}), "head_dim: must be even and within 2..1024, found 2048");
}

TEST(ModelConfigTest, BoundsNormAndTheta) {
  for (const json& value : {json(0), json(-1e-6), json(1), json("x"), json(false)}) {
    ExpectInvalid(Llama({{"rms_norm_eps", value}}), "rms_norm_eps: must be a number within");
  }
  for (const json& value : {json(0), json(0.5), json(-1), json(1e16), json("x")}) {
    ExpectInvalid(Llama({{"rope_theta", value}}), "rope_theta: must be a number within");
  }
}

TEST(ModelConfigTest, RefusesWhatTheForwardPassLacks) {
  ExpectUnsupported(Llama({{"hidden_act", "gelu"}}),
                    "hidden_act: \"gelu\" is not supported; supported is silu");
  ExpectInvalid(Llama({{"hidden_act", 3}}), "hidden_act: must be a string");
  ExpectUnsupported(Llama({{"attention_bias", true}}), "attention_bias: ");
  ExpectUnsupported(With(Minimal("Qwen3ForCausalLM"), {{"attention_bias", true}}), "attention_bias: ");
  ExpectUnsupported(Llama({{"mlp_bias", true}}), "mlp_bias: ");
  ExpectInvalid(Llama({{"mlp_bias", "yes"}}), "mlp_bias: must be true or false, found \"yes\"");
  ExpectUnsupported(Llama({{"partial_rotary_factor", 0.5}}), "partial_rotary_factor: ");
  EXPECT_EQ(Parsed(Llama({{"partial_rotary_factor", 1.0}})).head_dim, 16);
}

TEST(ModelConfigTest, RefusesQuantisedCheckpointsByName) {
  ExpectUnsupported(
      Llama({{"quantization_config", {{"quant_method", "gptq"}, {"bits", 4}}}}),
      "quantization_config: checkpoints that are already quantised (quant_method \"gptq\") are not "
      "supported; use the F32, F16 or BF16 weights");
  ExpectUnsupported(Llama({{"quantization_config", json::object()}}), "quantization_config: ");
}

TEST(ModelConfigTest, RefusesWhatIsNoConfigBySize) {
  json config = Llama();
  config["notes"] = std::string(kConfigLimits.bytes, 'x');
  ExpectInvalid(config, "bytes, at most 1048576");
  EXPECT_EQ(ParseGenerationDefaults(config.dump()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(RopeConfigTest, ReadsLinearScaling) {
  for (const char* key : {"type", "rope_type"}) {
    EXPECT_EQ(Parsed(Llama({{"rope_scaling", {{key, "linear"}, {"factor", 2.5}}}})).ropes[0].linear_factor,
              2.5);
  }
  EXPECT_EQ(Parsed(Llama({{"rope_scaling", {{"type", "linear"}, {"rope_type", "linear"}, {"factor", 4}}}}))
                .ropes[0]
                .linear_factor,
            4.0);
}

json Llama3Scaling() {
  return {{"rope_type", "llama3"},
          {"factor", 32.0},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4.0},
          {"original_max_position_embeddings", 8192}};
}

TEST(RopeConfigTest, ReadsLlama3Scaling) {
  const RopeConfig rope =
      Parsed(Llama({{"rope_scaling", Llama3Scaling()}, {"rope_theta", 500000.0}})).ropes[0];
  ASSERT_TRUE(rope.llama3.has_value());
  EXPECT_EQ(rope.theta, 500000.0);
  EXPECT_EQ(rope.linear_factor, 1.0);
  EXPECT_EQ(rope.llama3->factor, 32.0);
  EXPECT_EQ(rope.llama3->low_freq_factor, 1.0);
  EXPECT_EQ(rope.llama3->high_freq_factor, 4.0);
  EXPECT_EQ(rope.llama3->original_max_position, 8192);
}

TEST(RopeConfigTest, ReadsRopeParameters) {
  EXPECT_EQ(Parsed(Llama({{"rope_parameters", {{"rope_theta", 1e6}}}})).ropes[0].theta, 1e6);
  EXPECT_EQ(
      Parsed(Llama({{"rope_parameters", {{"rope_theta", 1e6}, {"rope_type", "default"}}}})).ropes[0].theta,
      1e6);
  EXPECT_EQ(
      Parsed(Llama({{"rope_theta", 1e6}, {"rope_parameters", {{"rope_type", "default"}}}})).ropes[0].theta,
      1e6);
  EXPECT_TRUE(Parsed(Llama({{"rope_parameters", Llama3Scaling()}})).ropes[0].llama3.has_value());
  EXPECT_TRUE(Parsed(Llama({{"rope_parameters", Llama3Scaling()}, {"rope_scaling", Llama3Scaling()}}))
                  .ropes[0]
                  .llama3.has_value());
}

TEST(RopeConfigTest, DefaultTypeChangesNothing) {
  const RopeConfig rope = Parsed(Llama({{"rope_scaling", {{"type", "default"}}}})).ropes[0];
  EXPECT_EQ(rope.linear_factor, 1.0);
  EXPECT_FALSE(rope.llama3.has_value());
}

TEST(RopeConfigTest, NamesUnsupportedTypes) {
  for (const char* type : {"yarn", "dynamic", ""}) {
    const json config = Llama({{"rope_scaling", {{"type", type}, {"factor", 2}}}});
    if (*type == '\0') {
      ExpectInvalid(config, "rope_scaling.rope_type: is required");
    } else {
      ExpectUnsupported(config,
                        "rope_scaling.rope_type: \"" + std::string(type) +
                            "\" is not supported; supported are default, linear, llama3 and longrope");
    }
  }
}

TEST(RopeConfigTest, RefusesContradictionsAndBadValues) {
  ExpectInvalid(Llama({{"rope_scaling", 3}}), "rope_scaling: must be an object or null, found 3");
  ExpectInvalid(Llama({{"rope_scaling", {{"factor", 2}}}}), "rope_scaling.rope_type: is required");
  ExpectInvalid(Llama({{"rope_scaling", {{"type", "linear"}}}}), "rope_scaling.factor: is required");
  ExpectInvalid(Llama({{"rope_scaling", {{"type", "linear"}, {"factor", 0.5}}}}),
                "rope_scaling.factor: must be");
  ExpectInvalid(Llama({{"rope_scaling", {{"type", "linear"}, {"rope_type", "llama3"}, {"factor", 2}}}}),
                "rope_scaling.type: contradicts rope_type");
  ExpectInvalid(
      Llama({{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}, {"rope_parameters", Llama3Scaling()}}),
      "rope_scaling: contradicts rope_parameters");
  ExpectInvalid(Llama({{"rope_theta", 1e4}, {"rope_parameters", {{"rope_theta", 1e6}}}}),
                "rope_parameters.rope_theta: contradicts the top-level rope_theta");
  ExpectUnsupported(Llama({{"rope_parameters", {{"partial_rotary_factor", 0.25}}}}), "partial_rotary_factor");
  for (const char* key :
       {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    json scaling = Llama3Scaling();
    scaling.erase(key);
    ExpectInvalid(Llama({{"rope_scaling", scaling}}), "rope_scaling." + std::string(key) + ": is required");
    scaling[key] = 0;
    ExpectInvalid(Llama({{"rope_scaling", scaling}}), "rope_scaling." + std::string(key) + ": must be");
  }
  ExpectInvalid(Llama({{"rope_scaling", With(Llama3Scaling(), {{"high_freq_factor", 1.0}})}}),
                "rope_scaling.high_freq_factor: must be above low_freq_factor");
}

TEST(SlidingWindowTest, MistralUsesItUnlessNull) {
  EXPECT_EQ(Parsed(With(Minimal("MistralForCausalLM"), {{"sliding_window", 4096}})).sliding_window(), 4096);
  EXPECT_EQ(Parsed(Minimal("MistralForCausalLM")).sliding_window(), 0);
  ExpectInvalid(With(Minimal("MistralForCausalLM"), {{"sliding_window", 0}}),
                "sliding_window: must be an integer");
  ExpectInvalid(With(Minimal("MistralForCausalLM"), {{"sliding_window", -1}}),
                "sliding_window: must be an integer");
}

TEST(SlidingWindowTest, LlamaHasNone) {
  EXPECT_EQ(Parsed(Llama({{"sliding_window", 4096}})).sliding_window(), 0);
}

std::vector<int64_t> Windows(const ModelConfig& config) {
  std::vector<int64_t> windows;
  for (int l = 0; l < config.num_layers; ++l) windows.push_back(config.layer(l).window);
  return windows;
}

// max_window_layers counts the first layers that see everything.
TEST(SlidingWindowTest, QwenUsesItOnlyWhenToldTo) {
  for (const char* architecture : {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    const json config = With(Minimal(architecture), {{"sliding_window", 4096}, {"max_window_layers", 1}});
    EXPECT_THAT(Windows(Parsed(config)), ElementsAre(0, 0));
    EXPECT_THAT(Windows(Parsed(With(config, {{"use_sliding_window", false}}))), ElementsAre(0, 0));
    const json used = With(config, {{"use_sliding_window", true}});
    EXPECT_THAT(Windows(Parsed(used)), ElementsAre(0, 4096));
    EXPECT_EQ(Parsed(used).sliding_window(), 0);  // one layer sees everything
    EXPECT_THAT(Windows(Parsed(With(used, {{"max_window_layers", 2}}))), ElementsAre(0, 0));
    EXPECT_THAT(Windows(Parsed(With(used, {{"max_window_layers", 0}}))), ElementsAre(4096, 4096));
    EXPECT_EQ(Parsed(With(used, {{"max_window_layers", 0}})).sliding_window(), 4096);
    EXPECT_THAT(Windows(Parsed(With(used, {{"layer_types", {"sliding_attention", "full_attention"}}}))),
                ElementsAre(4096, 0));
  }
}

TEST(SlidingWindowTest, LayerTypesAreChecked) {
  const json config = With(Minimal("MistralForCausalLM"), {{"sliding_window", 16}});
  ExpectInvalid(With(config, {{"layer_types", {"full_attention"}}}),
                "layer_types: must be a list of 2 names");
  ExpectInvalid(With(config, {{"layer_types", "full_attention"}}), "layer_types: must be a list of 2 names");
  ExpectUnsupported(With(config, {{"layer_types", {"full_attention", "chunked_attention"}}}),
                    "layer_types: \"chunked_attention\" is not supported");
}

json LongRope(const char* type = "longrope") {
  return {{"type", type},
          {"short_factor", {1, 1, 1, 1, 1, 1, 1, 2.5}},
          {"long_factor", {1, 2, 3, 4, 5, 6, 7, 8}}};
}

TEST(Phi3Test, FusesProjectionsAndStretchesByFactors) {
  const json config = With(Minimal("Phi3ForCausalLM"), {{"rope_scaling", LongRope()},
                                                        {"original_max_position_embeddings", 1024},
                                                        {"max_position_embeddings", 32768},
                                                        {"sliding_window", 2047}});
  const ModelConfig phi = Parsed(config);
  EXPECT_TRUE(phi.fused_projections);
  EXPECT_EQ(phi.rms_norm_eps, 1e-5f);
  EXPECT_THAT(Windows(phi), ElementsAre(2047, 2047));
  ASSERT_TRUE(phi.ropes[0].longrope.has_value());
  const LongRopeScaling& scaling = *phi.ropes[0].longrope;
  EXPECT_EQ(scaling.short_factors.back(), 2.5);
  EXPECT_THAT(scaling.long_factors, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(scaling.original_max_position, 1024);
  EXPECT_DOUBLE_EQ(scaling.attention_factor, std::sqrt(1.5));  // 1 + ln 32 / ln 1024
  EXPECT_FLOAT_EQ(phi.AttentionScale(0), 1.5f / 4);            // its square, over the root of 16
  EXPECT_TRUE(Parsed(With(config, {{"rope_scaling", LongRope("su")}})).ropes[0].longrope.has_value());
  EXPECT_FALSE(Parsed(Minimal("Phi3ForCausalLM")).ropes[0].longrope.has_value());
}

TEST(Phi3Test, NamesWhatIsWrongWithFactors) {
  const json config = With(Minimal("Phi3ForCausalLM"), {{"original_max_position_embeddings", 1024}});
  const auto with = [&](const json& change) {
    return With(config, {{"rope_scaling", With(LongRope(), change)}});
  };
  ExpectInvalid(with({{"short_factor", {1, 2}}}), "rope_scaling.short_factor: must be a list of 8 numbers");
  ExpectInvalid(with({{"long_factor", {1, 1, 1, 1, 1, 1, 1, 0}}}),
                "rope_scaling.long_factor: must hold numbers");
  ExpectInvalid(with({{"long_factor", {1, 1, 1, 1, 1, 1, 1, "x"}}}),
                "rope_scaling.long_factor: must hold numbers");
  ExpectInvalid(with({{"long_factor", nullptr}}), "rope_scaling.long_factor: is required");
  ExpectInvalid(With(Minimal("Phi3ForCausalLM"), {{"rope_scaling", LongRope()}}),
                "rope_scaling.original_max_position_embeddings: is required");
}

TEST(Phi3Test, MayRotateAPartOfEachHead) {
  const json longrope = {
      {"type", "longrope"}, {"short_factor", {1, 1, 1, 1, 1, 1}}, {"long_factor", {2, 2, 2, 2, 2, 2}}};
  const json config = With(Minimal("Phi3ForCausalLM"), {{"original_max_position_embeddings", 1024},
                                                        {"rope_scaling", longrope},
                                                        {"partial_rotary_factor", 0.75}});
  const ModelConfig phi = Parsed(config);
  EXPECT_EQ(phi.head_dim, 16);
  EXPECT_EQ(phi.ropes[0].rotated_dims, 12);
  EXPECT_EQ(phi.ropes[0].Pairs(phi.head_dim), 6);
  EXPECT_EQ(phi.ropes[0].longrope->long_factors.size(), 6u);
  EXPECT_EQ(Parsed(With(Minimal("Phi3ForCausalLM"), {{"partial_rotary_factor", 1.0}})).ropes[0].rotated_dims,
            0);
  EXPECT_EQ(Parsed(With(Minimal("Phi3ForCausalLM"), {{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}))
                .ropes[0]
                .rotated_dims,
            8);
  ExpectInvalid(With(config, {{"partial_rotary_factor", 0.5}}),
                "rope_scaling.short_factor: must be a list of 4 numbers");
}

TEST(Phi3Test, NamesPartsThatAreNoPairs) {
  for (const double part : {0.0, 0.01, 0.0625, 0.7}) {
    ExpectInvalid(With(Minimal("Phi3ForCausalLM"), {{"partial_rotary_factor", part}}),
                  "partial_rotary_factor: ");
  }
}

TEST(SmolLm3Test, SomeLayersDoNotRotate) {
  const json config = With(Minimal("SmolLM3ForCausalLM"), {{"num_hidden_layers", 5}});
  const auto rotating = [](const json& json) {
    const ModelConfig parsed = Parsed(json);
    std::vector<bool> out;
    for (int l = 0; l < 5; ++l) out.push_back(parsed.ropes[parsed.layer(l).rope].rotates);
    return out;
  };
  EXPECT_THAT(rotating(config), ElementsAre(true, true, true, false, true));
  EXPECT_THAT(rotating(With(config, {{"no_rope_layer_interval", 2}})),
              ElementsAre(true, false, true, false, true));
  EXPECT_THAT(rotating(With(config, {{"no_rope_layers", {0, 1, 1, 1, 0}}})),
              ElementsAre(false, true, true, true, false));
  EXPECT_EQ(Parsed(config).ropes[0].theta, 2e6);
  EXPECT_TRUE(Parsed(config).tied_embeddings);
  EXPECT_EQ(Parsed(config).sliding_window(), 0);
  ExpectInvalid(With(config, {{"no_rope_layers", {1, 0}}}), "no_rope_layers: must be a list of 5 numbers");
}

TEST(GemmaTest, SecondVersionCapsAndAlternates) {
  const json config = With(Minimal("Gemma2ForCausalLM"), {{"num_hidden_layers", 3}, {"hidden_size", 144}});
  const ModelConfig gemma = Parsed(config);
  EXPECT_EQ(gemma.head_dim, 256);
  EXPECT_EQ(gemma.activation, Activation::kGeluTanh);
  EXPECT_EQ(gemma.norm_offset, 1.0f);
  EXPECT_EQ(gemma.embedding_scale, 12.0f);
  EXPECT_TRUE(gemma.post_norms);
  EXPECT_TRUE(gemma.tied_embeddings);
  EXPECT_FALSE(gemma.qk_norm);
  EXPECT_EQ(gemma.attention_softcap, 50.0f);
  EXPECT_EQ(gemma.logit_softcap, 30.0f);
  EXPECT_THAT(Windows(gemma), ElementsAre(4096, 0, 4096));
  EXPECT_EQ(gemma.sliding_window(), 0);
  EXPECT_FLOAT_EQ(gemma.AttentionScale(0), 1.0f / 16);
  EXPECT_FLOAT_EQ(Parsed(With(config, {{"query_pre_attn_scalar", 144}})).AttentionScale(0), 1.0f / 12);
  json uncapped = config;
  uncapped["attn_logit_softcapping"] = nullptr;
  EXPECT_EQ(Parsed(uncapped).attention_softcap, 0.0f);
  EXPECT_EQ(Parsed(uncapped).logit_softcap, 30.0f);
  ExpectUnsupported(With(config, {{"hidden_activation", "gelu"}}),
                    "hidden_activation: \"gelu\" is not supported");
}

json Gemma3(const json& changes = json::object()) {
  return With(With(Minimal("Gemma3ForCausalLM"), {{"num_hidden_layers", 7}, {"sliding_window", 512}}),
              changes);
}

TEST(GemmaTest, ThirdVersionHasTwoRopes) {
  const ModelConfig gemma = Parsed(Gemma3({{"rope_scaling", {{"rope_type", "linear"}, {"factor", 8}}}}));
  EXPECT_TRUE(gemma.qk_norm);
  EXPECT_EQ(gemma.attention_softcap, 0.0f);
  EXPECT_EQ(gemma.logit_softcap, 0.0f);
  EXPECT_THAT(Windows(gemma), ElementsAre(512, 512, 512, 512, 512, 0, 512));
  EXPECT_EQ(gemma.layer(5).rope, 0);
  EXPECT_EQ(gemma.layer(6).rope, 1);
  EXPECT_EQ(gemma.ropes[0].theta, 1e6);
  EXPECT_EQ(gemma.ropes[0].linear_factor, 8.0);
  EXPECT_EQ(gemma.ropes[1].theta, 1e4);
  EXPECT_EQ(gemma.ropes[1].linear_factor, 1.0);
  EXPECT_THAT(Windows(Parsed(Gemma3({{"num_hidden_layers", 3}, {"sliding_window_pattern", 2}}))),
              ElementsAre(512, 0, 512));
  ExpectUnsupported(Gemma3({{"use_bidirectional_attention", true}}), "use_bidirectional_attention");
}

TEST(GemmaTest, ThirdVersionsRopesByTypeOfLayer) {
  const json ropes = {{"full_attention", {{"rope_type", "linear"}, {"factor", 4}, {"rope_theta", 2e6}}},
                      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 2e4}}}};
  const ModelConfig gemma = Parsed(Gemma3({{"rope_parameters", ropes}}));
  EXPECT_EQ(gemma.ropes[0].theta, 2e6);
  EXPECT_EQ(gemma.ropes[0].linear_factor, 4.0);
  EXPECT_EQ(gemma.ropes[1].theta, 2e4);
  ExpectInvalid(Gemma3({{"rope_parameters", With(ropes, {{"sliding_attention", nullptr}})}}),
                "rope_parameters: sliding_attention must be an object");
  ExpectUnsupported(Gemma3({{"rope_parameters", With(ropes, {{"full_attention", {{"rope_type", "yarn"}}}})}}),
                    "rope_parameters.full_attention.rope_type: \"yarn\" is not supported");
}

// Published files leave out what their class has as a default.
TEST(GemmaTest, ModelsThatReadImagesHoldALanguageModel) {
  const json text = {{"hidden_size", 2560},
                     {"intermediate_size", 10240},
                     {"num_hidden_layers", 34},
                     {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                     {"sliding_window", 1024}};
  const ModelConfig gemma =
      Parsed({{"architectures", {"Gemma3ForConditionalGeneration"}}, {"text_config", text}});
  EXPECT_EQ(gemma.tensor_prefix, "language_model.model.");
  EXPECT_EQ(gemma.head_tensor, "language_model.lm_head");
  EXPECT_EQ(gemma.num_heads, 8);
  EXPECT_EQ(gemma.num_kv_heads, 4);
  EXPECT_EQ(gemma.head_dim, 256);
  EXPECT_EQ(gemma.vocab_size, 262208);
  EXPECT_EQ(gemma.max_position, 131072);
  EXPECT_EQ(gemma.layer(33).window, 1024);
  EXPECT_EQ(gemma.layer(29).window, 0);
  ExpectInvalid({{"architectures", {"Gemma3ForConditionalGeneration"}}}, "text_config: must be an object");
  ExpectInvalid(
      {{"architectures", {"Gemma3ForConditionalGeneration"}}, {"text_config", {{"hidden_size", 0}}}},
      "text_config.num_hidden_layers: is required");
}

}  // namespace
}  // namespace memgate
