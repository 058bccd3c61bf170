// How the pre-tokenisers that GGUF files name cut texts into pieces.
#include "engine/text/gguf_pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/text_splitter.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::ElementsAre;

std::vector<std::string> SplitAs(const std::string& pre, const std::string& text) {
  std::vector<std::string_view> pieces = {text};
  for (const std::string_view pattern : FindGgufPreTokenizer(pre)->patterns) {
    const auto splitter = TextSplitter::Compile(std::string(pattern), SplitBehavior::kIsolated, false);
    EXPECT_TRUE(splitter.ok()) << pre << ": " << splitter.status();
    std::vector<std::string_view> finer;
    MatchWork work(text.size());
    for (const std::string_view piece : pieces) EXPECT_TRUE(splitter->Split(piece, work, finer).ok());
    pieces = finer;
  }
  return {pieces.begin(), pieces.end()};
}

// One text, and by hand what each family makes of it.
TEST(GgufPreTokenizerTest, SplitsAsEachFamilyDoes) {
  const std::string text = "I'M HelloWorld 12345 a/b!!\n  x";
  EXPECT_THAT(SplitAs("gpt-2", text),
              ElementsAre("I", "'", "M", " HelloWorld", " 12345", " a", "/", "b", "!!", "\n ", " x"));
  EXPECT_THAT(SplitAs("llama-bpe", text),
              ElementsAre("I", "'M", " HelloWorld", " ", "123", "45", " a", "/b", "!!\n", " ", " x"));
  EXPECT_THAT(SplitAs("qwen2", text), ElementsAre("I", "'M", " HelloWorld", " ", "1", "2", "3", "4", "5",
                                                  " a", "/b", "!!\n", " ", " x"));
  EXPECT_THAT(SplitAs("smollm", text), ElementsAre("I", "'", "M", " HelloWorld", " ", "1", "2", "3", "4", "5",
                                                   " a", "/", "b", "!!", "\n ", " x"));
  EXPECT_THAT(SplitAs("tekken", text), ElementsAre("I", "'M", " Hello", "World", " ", "1", "2", "3", "4", "5",
                                                   " a", "/b", "!!\n", " ", " x"));
  EXPECT_THAT(SplitAs("gpt-4o", text),
              ElementsAre("I'M", " Hello", "World", " ", "123", "45", " a", "/b", "!!\n", " ", " x"));
  EXPECT_THAT(SplitAs("deepseek-llm", text),
              ElementsAre("I", "'", "M", " HelloWorld", " ", "12345", " a", "/", "b", "!!", "\n", " ", " x"));
  EXPECT_THAT(SplitAs("deepseek-coder", text), ElementsAre("I", "'", "M", " HelloWorld", " ", "1", "2", "3",
                                                           "4", "5", " a", "/", "b", "!!", "\n", " ", " x"));
  EXPECT_THAT(SplitAs("deepseek-v3", text),
              ElementsAre("I", "'M", " HelloWorld", " ", "123", "45", " a", "/b", "!!\n", " ", " x"));
  EXPECT_THAT(SplitAs("falcon", text),
              ElementsAre("I", "'", "M", " HelloWorld", " ", "123", "45", " a", "/", "b", "!!", "\n ", " x"));
  EXPECT_THAT(SplitAs("bloom", "Hi, you (two).  x"),
              ElementsAre("Hi", ",", " you", " (", "two", "). ", " x"));
}

TEST(GgufPreTokenizerTest, EveryPatternCompilesAndLosesNothing) {
  const std::string text = "It's 3 o'clock,\r\n\t你好 123456 e\xCC\x81té…  🙂 \n";
  for (const char* name :
       {"default",  "gpt-2",     "falcon",          "starcoder",    "llama-bpe",      "dbrx",
        "qwen2",    "stablelm2", "qwen35",          "deepseek-llm", "deepseek-coder", "deepseek-v3",
        "tekken",   "gpt-4o",    "bloom",           "viking",       "seed-coder",     "bailingmoe",
        "minicpm5", "smollm",    "deepseek-r1-qwen"}) {
    ASSERT_NE(FindGgufPreTokenizer(name), nullptr) << name;
    std::string joined;
    for (const std::string& piece : SplitAs(name, text)) joined += piece;
    EXPECT_EQ(joined, text) << name;
  }
  EXPECT_EQ(FindGgufPreTokenizer(""), FindGgufPreTokenizer("default"));
  EXPECT_EQ(FindGgufPreTokenizer("no-such"), nullptr);
}

// What an independent reader of the published patterns makes of many texts (tests/golden/make_splits.py).
TEST(GgufPreTokenizerTest, SplitsAsAnotherReaderOfThePatternsDoes) {
  const json golden =
      json::parse(std::ifstream(MEMGATE_SOURCE_DIR "/tests/golden/pre_tokenizer_splits.json"));
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  ASSERT_GE(texts.size(), 60u);
  ASSERT_GE(golden["pieces"].size(), 17u);
  for (const auto& [name, of_texts] : golden["pieces"].items()) {
    ASSERT_EQ(of_texts.size(), texts.size()) << name;
    for (size_t i = 0; i < texts.size(); ++i) {
      std::vector<std::string> expected;
      size_t begin = 0;
      for (const size_t bytes : of_texts[i].get<std::vector<size_t>>()) {
        expected.push_back(texts[i].substr(begin, bytes));
        begin += bytes;
      }
      EXPECT_EQ(SplitAs(name, texts[i]), expected) << name << ": " << texts[i];
    }
  }
}

}  // namespace
}  // namespace memgate
