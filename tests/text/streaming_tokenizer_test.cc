#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

std::vector<TokenId> Stream(const Tokenizer& tokenizer, std::string_view text, size_t largest_chunk,
                            SpecialTokens special, uint32_t seed) {
  StreamingTokenizer stream(tokenizer, TextPosition::kStart, special);
  std::mt19937 random(seed);
  std::vector<TokenId> ids;
  while (!text.empty()) {
    const size_t size = std::min<size_t>(text.size(), 1 + random() % largest_chunk);
    const std::vector<TokenId> more = stream.Push(text.substr(0, size)).value();
    ids.insert(ids.end(), more.begin(), more.end());
    text.remove_prefix(size);
  }
  const std::vector<TokenId> rest = stream.Finish().value();
  ids.insert(ids.end(), rest.begin(), rest.end());
  return ids;
}

std::string RandomText(uint32_t seed, size_t bytes) {
  constexpr const char* kParts[] = {"hello", " wor",    "he",        " ",       "\n",   "\r\n",    "\n\n",
                                    "  \n ", "é",       "e\xCC\x81", "你",      "🙂", "42",      ".",
                                    "\t",    "<|end|>", "<note>",    "the cat", "'s",   "\xC2\xA0"};
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < bytes) text += kParts[random() % std::size(kParts)];
  return text;
}

TEST(StreamingTokenizerTest, GivesTheIdsOfTheWholeTextForAnyChunking) {
  for (const auto& json : {TinyByteLevelJson(), TinyQwenJson(), TinySentencePieceJson()}) {
    const auto tokenizer = MakeTokenizer(json);
    for (uint32_t seed = 0; seed < 6; ++seed) {
      const std::string text = RandomText(seed, 20'000);
      for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kPlainText}) {
        const std::vector<TokenId> whole = tokenizer->Encode(text, TextPosition::kStart, special).value();
        for (const size_t largest : {1, 100, 30'000}) {
          EXPECT_TRUE(Stream(*tokenizer, text, largest, special, seed) == whole) << "seed " << seed;
        }
      }
    }
  }
}

TEST(StreamingTokenizerTest, CutsALongLineAtASpaceWithoutChangingItsIds) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  std::string line;
  while (line.size() < 200'000) line += line.size() % 3 == 0 ? " wor" : " hello";
  const std::vector<TokenId> whole = tokenizer->Encode(line, TextPosition::kStart).value();
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  const size_t at_once = stream.Push(line)->size();
  EXPECT_GT(at_once, whole.size() / 2) << "a line this long is not held back to its end";
  EXPECT_TRUE(Stream(*tokenizer, line, 999, SpecialTokens::kParse, 1) == whole);
}

TEST(StreamingTokenizerTest, HoldsBackNoMoreThan64KiBOfAWordWithoutEnd) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  const std::string word(1 << 20, 'x');
  const size_t given = stream.Push(word)->size();
  EXPECT_GE(given, word.size() - (66 << 10));
  EXPECT_EQ(given + stream.Finish()->size(), word.size());
}

TEST(StreamingTokenizerTest, AddsTheBeginTokenOnce) {
  const auto tokenizer = MakeTokenizer(TinySentencePieceJson());
  StreamingTokenizer empty(*tokenizer, TextPosition::kStart);
  EXPECT_THAT(*empty.Finish(), testing::ElementsAre(1));
  StreamingTokenizer continued(*tokenizer, TextPosition::kContinuation);
  EXPECT_THAT(*continued.Finish(), testing::IsEmpty());
}

TEST(StreamingTokenizerTest, ReportsTheOffsetOfInvalidBytesInTheStreamAndStaysFailed) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  ASSERT_TRUE(stream.Push(std::string(5000, '\n') + "a\xE2").ok());
  const absl::Status status = stream.Push("(").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("at byte 5001"));
  EXPECT_EQ(stream.Push("more").status(), status);
  EXPECT_EQ(stream.Finish().status(), status);
}

TEST(StreamingTokenizerTest, RefusesAnEndInsideACharacter) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  ASSERT_TRUE(stream.Push("ab\xE2\x82").ok());
  EXPECT_THAT(std::string(stream.Finish().status().message()), testing::HasSubstr("at byte 2"));
}

}  // namespace
}  // namespace memgate
