// memory.json, without the module that it belongs to.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "engine/memory/module.h"

namespace memgate {
namespace {

using nlohmann::json;

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
      {"base_norms", 1, "'base_norms' must be a string"},
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

TEST(MemoryModuleConfigTest, OptionsOfAnotherTypeAreRefusedAndBooleansRead) {
  json config = GoodConfig();
  config["use_q_proj"] = true;
  const auto parsed = ParseMemoryModuleConfig(config.dump());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->Option("use_q_proj", ""), "true");
  config["normaliser"] = {"length"};
  const absl::Status status = ParseMemoryModuleConfig(config.dump()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("'normaliser'"), std::string::npos) << status;
}

}  // namespace
}  // namespace memgate
