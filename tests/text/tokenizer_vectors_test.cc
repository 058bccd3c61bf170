// Published tokenizers against ids from other implementations. Runs where the data folder is checked out
// beside the repository.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"
#include "tests/text/shared_data.h"
#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

using nlohmann::json;

std::unique_ptr<Tokenizer> Open(const std::string& folder) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromFolder(folder);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

class TokenizerVectorsTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = kData + "/tokenizers/" + GetParam();
    SKIP_WITHOUT(folder_);
    tokenizer_ = Open(folder_);
    ASSERT_NE(tokenizer_, nullptr);
    vectors_ = ReadJson(folder_ + "/vectors.json");
    ASSERT_GT(vectors_.size(), 900u);
  }
  // The vectors leave out the begin token.
  std::vector<TokenId> EncodeBare(const std::string& text, SpecialTokens special) const {
    return memgate::EncodeBare(*tokenizer_, text, special);
  }

  std::string folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  json vectors_;
};

// Two texts of the vectors hold literal special tokens, "<|endoftext|>" and "<s>hello</s>". Their ids are
// those of kParse; kPlainText spells them out where the vocabulary calls them special (the next test).
TEST_P(TokenizerVectorsTest, IdsEqualThoseOfOtherImplementations) {
  for (const json& vector : vectors_) {
    const std::string text = vector["text"];
    EXPECT_EQ(EncodeBare(text, SpecialTokens::kParse), vector["ids"].get<std::vector<TokenId>>()) << text;
  }
}

TEST_P(TokenizerVectorsTest, PlainTextDiffersOnlyWhereATextNamesASpecialToken) {
  for (const json& vector : vectors_) {
    const std::string text = vector["text"];
    const std::vector<TokenId> plain = EncodeBare(text, SpecialTokens::kPlainText);
    for (const TokenId id : plain) EXPECT_FALSE(tokenizer_->IsSpecial(id)) << text;
    const bool names_special = text == "<|endoftext|>" || text == "<s>hello</s>";
    if (!names_special) {
      EXPECT_EQ(plain, vector["ids"].get<std::vector<TokenId>>()) << text;
    }
  }
}

TEST_P(TokenizerVectorsTest, DecodingGivesTheTextBack) {
  const bool composes = std::string(GetParam()) == "qwen2";  // NFC, so only composed text survives
  for (const json& vector : vectors_) {
    const std::string text = vector["text"];
    const std::string decoded =
        Decode(*tokenizer_, EncodeBare(text, SpecialTokens::kPlainText), TextPosition::kStart);
    if (composes && decoded != text) {
      EXPECT_EQ(EncodeBare(decoded, SpecialTokens::kPlainText), EncodeBare(text, SpecialTokens::kPlainText))
          << text;
    } else {
      EXPECT_EQ(decoded, text);
    }
  }
}

TEST_P(TokenizerVectorsTest, DecodingGivesRandomTextBack) {
  const bool composes = std::string(GetParam()) == "qwen2";
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    std::string text = RandomUtf8(seed, seed % 200);
    if (composes) text = *NormalizeUnicode(text, NormalizationForm::kNfc);
    const std::vector<TokenId> ids = EncodeBare(text, SpecialTokens::kPlainText);
    ASSERT_EQ(Decode(*tokenizer_, ids, TextPosition::kStart), text) << "seed " << seed;
  }
}

TEST_P(TokenizerVectorsTest, StreamedInRandomChunksGivesTheIdsOfTheWholeText) {
  std::string whole;
  for (const json& vector : vectors_) {
    whole += vector["text"].get<std::string>();
    whole += whole.size() % 5 == 0 ? "\r\n" : whole.size() % 3 == 0 ? "\n\n  " : "\n";
  }
  for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kPlainText}) {
    const std::vector<TokenId> expected = *tokenizer_->Encode(whole, TextPosition::kStart, special);
    std::mt19937 random(7);
    for (const size_t largest : {1, 7, 300, 5000, 100000}) {
      StreamingTokenizer stream(*tokenizer_, TextPosition::kStart, special);
      std::vector<TokenId> ids;
      for (size_t at = 0; at < whole.size();) {
        const size_t size = 1 + random() % largest;
        const absl::Status status = stream.Push(std::string_view(whole).substr(at, size), ids);
        ASSERT_TRUE(status.ok()) << status;
        at += size;
      }
      EXPECT_GT(ids.size(), expected.size() * 3 / 4) << "nothing was cut before the end";
      ASSERT_TRUE(stream.Finish(ids).ok());
      EXPECT_TRUE(ids == expected) << "chunks of up to " << largest << " bytes";
    }
  }
}

TEST_P(TokenizerVectorsTest, RandomTextStreamedInRandomChunksGivesTheIdsOfTheWholeText) {
  for (uint32_t seed = 0; seed < 8; ++seed) {
    std::mt19937 random(seed);
    std::string whole(random() % 100, seed % 2 == 0 ? ' ' : '\n');
    while (whole.size() < 30'000) {
      whole += RandomUtf8(random(), random() % 300);
      whole += vectors_[random() % vectors_.size()]["text"].get<std::string>();
      whole += std::string(1 + random() % 3, random() % 2 == 0 ? '\n' : ' ');
    }
    const std::vector<TokenId> expected = *tokenizer_->Encode(whole, TextPosition::kStart);
    for (const size_t largest : {3, 4'000}) {
      StreamingTokenizer stream(*tokenizer_, TextPosition::kStart);
      std::vector<TokenId> ids;
      for (size_t at = 0; at < whole.size();) {
        const size_t size = 1 + random() % largest;
        ASSERT_TRUE(stream.Push(std::string_view(whole).substr(at, size), ids).ok());
        at += size;
      }
      ASSERT_TRUE(stream.Finish(ids).ok());
      EXPECT_TRUE(ids == expected) << "seed " << seed << ", chunks of up to " << largest << " bytes";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Published, TokenizerVectorsTest,
                         testing::Values("gpt2", "qwen2", "llama2", "phi-3-mini"), [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(StoriesTokenizerTest, IdsEqualThoseOfOtherImplementations) {
  const std::string folder = kData + "/models/stories260K-hf";
  SKIP_WITHOUT(folder);
  const std::unique_ptr<Tokenizer> tokenizer = Open(folder);
  ASSERT_NE(tokenizer, nullptr);
  ExpectIdsOfStories(*tokenizer);
}

}  // namespace
}  // namespace memgate
