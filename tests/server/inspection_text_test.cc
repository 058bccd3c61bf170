#include "server/inspection_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace memgate {
namespace {

using testing::HasSubstr;
using testing::Not;

Inspection Model() {
  Inspection inspection;
  inspection.path = "/models/tiny.gguf";
  inspection.format = "GGUF 3";
  inspection.architecture = "LlamaForCausalLM";
  inspection.types = {{"Q4_K", 36, 2 << 20, true}, {"IQ1_S", 1, 0, false}};
  inspection.tokenizer = "gpt2, llama-bpe";
  inspection.vocabulary_size = 512;
  inspection.has_chat_template = true;
  inspection.modules = {
      {"/models", "memgate", "notes", {4, 192, 64, 764}, 4096, "sha256:0123", BaseMatch::kNorms}};
  ModelConfig config;
  config.num_layers = 5;
  config.hidden_size = 256;
  config.num_heads = 8;
  config.num_kv_heads = 4;
  config.head_dim = 64;
  config.intermediate_size = 768;
  config.vocab_size = 512;
  config.max_position = 2048;
  inspection.config = config;
  inspection.parameters = 5'242'880;
  inspection.fingerprint = "sha256:4567";
  inspection.norms_fingerprint = "sha256:89ab";
  inspection.weights = {{WeightFormat::kF32, 20 << 20}, {WeightFormat::kInt4, 3 << 20}};
  inspection.default_weights = WeightFormat::kInt4;
  inspection.full_kv_per_token = {{KvFormat::kF32, 10240}, {KvFormat::kInt8, 2720}};
  inspection.kinds = {
      {"notes", true, {4, 192, 64, 764}, {{KvFormat::kF32, 1 << 20}, {KvFormat::kInt8, 1 << 18}}}};
  return inspection;
}

TEST(InspectionTextTest, TellsWhatIsThereAndWhatItCosts) {
  const std::string text = InspectionText(Model());
  EXPECT_THAT(text, HasSubstr("/models/tiny.gguf: GGUF 3, LlamaForCausalLM\n"));
  EXPECT_THAT(text, HasSubstr("tensors: 36 Q4_K (2.0 MiB), 1 IQ1_S (not supported)\n"));
  EXPECT_THAT(
      text, HasSubstr("5 layers, width 256, 8 heads (4 KV, dimension 64), feed-forward 768, vocabulary 512"));
  EXPECT_THAT(text, HasSubstr("parameters: 5242880\n"));
  EXPECT_THAT(text, HasSubstr("tokenizer: gpt2, llama-bpe, 512 tokens; chat template: yes\n"));
  EXPECT_THAT(text, HasSubstr("weights in memory: f32 20.0 MiB, int4 3.0 MiB; auto takes int4\n"));
  EXPECT_THAT(text,
              HasSubstr("memory module: /models: kind memgate, named notes, 4.0 KiB, 4 sinks, window 192"));
  EXPECT_THAT(text, HasSubstr("for sha256:0123, base: same norms\n"));
  EXPECT_THAT(text, HasSubstr("\nfingerprint: sha256:4567\nfingerprint of norms: sha256:89ab\n"));
  EXPECT_THAT(text, HasSubstr("f32 1.0 MiB, int8 256.0 KiB\n"));
  EXPECT_THAT(text, HasSubstr("can be served: yes\n"));
}

TEST(InspectionTextTest, TellsWhyItCannotBeServed) {
  Inspection inspection = Model();
  inspection.config.reset();
  inspection.kinds.clear();
  inspection.obstacles = {"one reason", "another"};
  inspection.remarks = {"something else"};
  const std::string text = InspectionText(inspection);
  EXPECT_THAT(text, HasSubstr("remark: something else\ncan be served: no\n  one reason\n  another\n"));
  EXPECT_THAT(text, Not(HasSubstr("weights in memory")));
}

TEST(InspectionTextTest, NothingInAFileReachesTheTerminalAsItIs) {
  Inspection inspection = Model();
  inspection.architecture = "\x1b[31mLlama\ncan be served: no";
  inspection.types = {{"F\x07", 1, 0, false}};
  inspection.tokenizer = "gpt2\r";
  inspection.modules[0].base_fingerprint = "\x1b]0;x";
  inspection.kinds[0].kind = "\x9b";
  inspection.obstacles = {"no\nsuch thing"};
  const std::string text = InspectionText(inspection);
  for (const char c : text) EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << int{c};
  EXPECT_THAT(text, HasSubstr("\\x1b[31mLlama\\x0acan be served: no\n"));
  EXPECT_THAT(text, HasSubstr("\n  no\\x0asuch thing\n"));
  const std::string json = InspectionJson(inspection);
  for (const char c : json) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << int{c};
}

TEST(InspectionTextTest, AModuleAloneIsLoadedNotServed) {
  Inspection inspection;
  inspection.path = "/modules/notes";
  inspection.format = kMemoryModuleFormat;
  const std::string text = InspectionText(inspection);
  EXPECT_THAT(text, HasSubstr("/modules/notes: memory module\ntensors: none\n"));
  EXPECT_THAT(text, HasSubstr("can be loaded: yes\n"));
  EXPECT_THAT(text, Not(HasSubstr("tokenizer")));
}

TEST(InspectionTextTest, JsonHoldsTheNumbersAsTheyAre) {
  Inspection inspection = Model();
  inspection.path = "/models/\xff.gguf";  // no UTF-8
  const std::string text = InspectionJson(inspection);
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["servable"], true);
  EXPECT_EQ(json["tensor_types"][1]["type"], "IQ1_S");
  EXPECT_EQ(json["tensor_types"][1]["readable"], false);
  EXPECT_EQ(json["parameters"], 5'242'880);
  EXPECT_EQ(json["config"]["head_dim"], 64);
  EXPECT_EQ(json["weight_bytes"]["int4"], 3 << 20);
  EXPECT_EQ(json["default_weights"], "int4");
  EXPECT_EQ(json["full_kv_bytes_per_token"]["int8"], 2720);
  EXPECT_EQ(json["memory_kinds"][0]["kind"], "notes");
  EXPECT_EQ(json["memory_kinds"][0]["session_bytes"]["f32"], 1 << 20);
  EXPECT_EQ(json["memory_kinds"][0]["shape"]["salient_tokens"], 764);
  EXPECT_EQ(json["modules"][0]["base_fingerprint"], "sha256:0123");
  EXPECT_EQ(json["modules"][0]["base"], "same norms");
  EXPECT_EQ(json["fingerprint"], "sha256:4567");
  EXPECT_EQ(json["norms_fingerprint"], "sha256:89ab");
  inspection.obstacles = {"a reason"};
  EXPECT_EQ(nlohmann::json::parse(InspectionJson(inspection))["servable"], false);
}

}  // namespace
}  // namespace memgate
