// generation_config.json, and the end tokens of config.json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/hugging_face.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

GenerationDefaults ParsedGeneration(const json& config) {
  const absl::StatusOr<GenerationDefaults> parsed = ParseGenerationDefaults(config.dump());
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.value_or(GenerationDefaults{});
}

TEST(GenerationDefaultsTest, LeavesAbsentValuesUnset) {
  const GenerationDefaults defaults = ParsedGeneration(json::object());
  EXPECT_THAT(defaults.eos_token_ids, IsEmpty());
  EXPECT_EQ(defaults.temperature, std::nullopt);
  EXPECT_EQ(defaults.top_k, std::nullopt);
  EXPECT_EQ(defaults.top_p, std::nullopt);
  EXPECT_EQ(defaults.repetition_penalty, std::nullopt);
}

TEST(GenerationDefaultsTest, ReadsWhatIsGivenAndIgnoresTheRest) {
  const GenerationDefaults defaults = ParsedGeneration({{"eos_token_id", {7, 9}},
                                                        {"do_sample", true},
                                                        {"temperature", 0.7},
                                                        {"top_k", 20},
                                                        {"top_p", 0.8},
                                                        {"repetition_penalty", 1.1},
                                                        {"transformers_version", "4.44.0"}});
  EXPECT_THAT(defaults.eos_token_ids, ElementsAre(7, 9));
  EXPECT_EQ(defaults.temperature, 0.7f);
  EXPECT_EQ(defaults.top_k, 20);
  EXPECT_EQ(defaults.top_p, 0.8f);
  EXPECT_EQ(defaults.repetition_penalty, 1.1f);
  EXPECT_THAT(ParsedGeneration({{"eos_token_id", 2}}).eos_token_ids, ElementsAre(2));
}

TEST(GenerationDefaultsTest, DoSampleDecidesTheTemperature) {
  EXPECT_EQ(ParsedGeneration({{"do_sample", false}, {"temperature", 0.7}}).temperature, 0.0f);
  EXPECT_EQ(ParsedGeneration({{"do_sample", true}}).temperature, 1.0f);
  EXPECT_EQ(ParsedGeneration({{"temperature", 0.7}}).temperature, 0.7f);
}

TEST(GenerationDefaultsTest, NamesTheKeyThatIsOutOfRange) {
  const json cases[] = {
      {{"temperature", -1}},
      {{"temperature", 101}},
      {{"temperature", "hot"}},
      {{"top_k", -1}},
      {{"top_k", 1.5}},
      {{"top_p", 0}},
      {{"top_p", 1.1}},
      {{"repetition_penalty", 0}},
      {{"repetition_penalty", 101}},
      {{"eos_token_id", -1}},
      {{"eos_token_id", "</s>"}},
      {{"eos_token_id", {1, "x"}}},
      {{"eos_token_id", int64_t{1} << 31}},
      {{"eos_token_id", {{1, 2}}}},
      {{"do_sample", 1}},
      {{"eos_token_id", std::vector<int>(65, 1)}},
  };
  for (const json& config : cases) {
    const absl::Status status = ParseGenerationDefaults(config.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << config;
    EXPECT_THAT(std::string(status.message()), HasSubstr(config.begin().key() + ": ")) << config;
  }
}

TEST(GenerationDefaultsTest, EosIdsOfConfigJsonAreReadAlone) {
  EXPECT_THAT(*ParseEosTokenIds(R"({"eos_token_id":[3,4],"temperature":"legacy"})"), ElementsAre(3, 4));
  EXPECT_THAT(*ParseEosTokenIds(R"({"eos_token_id":null})"), IsEmpty());
  EXPECT_FALSE(ParseEosTokenIds(R"({"eos_token_id":{}})").ok());
}

}  // namespace
}  // namespace memgate
