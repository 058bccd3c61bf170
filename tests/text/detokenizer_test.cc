#include <gtest/gtest.h>

#include <random>

#include "engine/text/unicode.h"
#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

TEST(DetokenizerTest, EmitsOnlyWholeCharacters) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  const std::string text = "hello wör 你好 🙂!";
  Detokenizer detokenizer(*tokenizer, TextPosition::kStart);
  std::string all;
  const std::vector<TokenId> ids = tokenizer->Encode(text, TextPosition::kStart).value();
  for (const TokenId id : ids) {
    const std::string part = detokenizer.Push(id);
    EXPECT_TRUE(CheckUtf8(part).ok());
    all += part;
  }
  EXPECT_EQ(all, text);
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST(DetokenizerTest, TurnsRandomBytesIntoTheSameValidTextInAnySplit) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<TokenId> ids;  // ids 0..255 are the bytes themselves
    for (int i = 0; i < 50; ++i) ids.push_back(random() % 4 == 0 ? random() % 128 : 0x80 + random() % 128);
    const std::string whole = Decode(*tokenizer, ids, TextPosition::kContinuation);
    EXPECT_TRUE(CheckUtf8(whole).ok());
    Detokenizer detokenizer(*tokenizer, TextPosition::kContinuation);
    std::string streamed;
    for (const TokenId id : ids) {
      const std::string part = detokenizer.Push(id);
      EXPECT_TRUE(CheckUtf8(part).ok());
      streamed += part;
    }
    EXPECT_EQ(streamed + detokenizer.Flush(), whole);
  }
}

TEST(DetokenizerTest, ReplacesAnIncompleteCharacterAtTheEnd) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  EXPECT_EQ(Decode(*tokenizer, {'a', 0xE2, 0x82}, TextPosition::kStart), "a\xEF\xBF\xBD");
  EXPECT_EQ(Decode(*tokenizer, {0xE2, 0x82, 'a'}, TextPosition::kStart),
            "\xEF\xBF\xBD"
            "a");
}

TEST(DetokenizerTest, StripsTheDummySpaceOnlyAtTheStart) {
  const auto tokenizer = MakeTokenizer(TinySentencePieceJson());
  const std::vector<TokenId> ids = *tokenizer->Encode("the cat", TextPosition::kStart);
  EXPECT_EQ(Decode(*tokenizer, ids, TextPosition::kStart), "the cat");
  EXPECT_EQ(Decode(*tokenizer, ids, TextPosition::kContinuation), " the cat");
}

}  // namespace
}  // namespace memgate
