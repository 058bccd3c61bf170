#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>

#include "tests/text/sentencepiece_files.h"
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
    EXPECT_TRUE(stream.Push(text.substr(0, size), ids).ok());
    text.remove_prefix(size);
  }
  EXPECT_TRUE(stream.Finish(ids).ok());
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
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (const auto& json : {TinyByteLevelJson(), TinyQwenJson(), TinySentencePieceJson(), TinyUnigramJson()}) {
    tokenizers.push_back(MakeTokenizer(json));
  }
  // Without and with removing extra spaces.
  const std::string remove_spaces = BytesField(3, VarintField(4, 1));
  for (const std::string& options : {std::string(), remove_spaces}) {
    tokenizers.push_back(*Tokenizer::FromSentencePiece(TinySentencePieceFile(1) + options, ""));
    tokenizers.push_back(*Tokenizer::FromSentencePiece(TinySentencePieceFile(2) + options, ""));
  }
  for (const auto& tokenizer : tokenizers) {
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

// What a normaliser drops or puts at the start of a text, it must not do at the start of a part.
TEST(StreamingTokenizerTest, WhatATextBeginsWithIsNotCutOff) {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  const nlohmann::json strip = {{"type", "Strip"}};
  const nlohmann::json nmt_strip = {{"type", "Sequence"}, {"normalizers", {{{"type", "Nmt"}}, strip}}};
  for (nlohmann::json json : {TinyByteLevelJson(), TinyUnigramJson()}) {
    for (const auto& normalizer : {strip, nmt_strip}) {
      json["normalizer"] = normalizer;
      tokenizers.push_back(MakeTokenizer(json));
    }
  }
  for (const int dummy_prefix : {0, 1}) {
    const std::string options = BytesField(3, VarintField(3, dummy_prefix) + VarintField(4, 1));
    tokenizers.push_back(*Tokenizer::FromSentencePiece(TinySentencePieceFile(1) + options, ""));
    tokenizers.push_back(*Tokenizer::FromSentencePiece(TinySentencePieceFile(2) + options, ""));
  }
  std::string invisible;  // becomes spaces
  for (int i = 0; i < 200; ++i) invisible += "\xE2\x80\x8B";
  for (const std::string& prefix :
       {std::string(" "), std::string("\n"), std::string(" \n \n  "), std::string(40, '\n') + "  ",
        std::string(100, ' ') + "\n", invisible, invisible + "\n", "\n" + invisible + "\n \n"}) {
    const std::string text = prefix + RandomText(1, 5'000) + " \n" + invisible + "\n" + RandomText(2, 5'000);
    for (const auto& tokenizer : tokenizers) {
      const std::vector<TokenId> whole = tokenizer->Encode(text, TextPosition::kStart).value();
      for (const size_t largest : {50, 3'000}) {
        EXPECT_TRUE(Stream(*tokenizer, text, largest, SpecialTokens::kParse, 3) == whole)
            << prefix.size() << " bytes first";
      }
    }
  }
}

// Which words pair up depends on the first one of the line.
TEST(StreamingTokenizerTest, PiecesOfSeveralWordsAreNotCut) {
  auto json = TinySentencePieceJson();
  json["model"]["vocab"]["▁a"] = 400;
  json["model"]["vocab"]["▁a▁a"] = 401;
  json["model"]["vocab"]["▁a▁a▁a▁a"] = 402;
  for (const char* merge : {"▁ a", "▁a ▁a", "▁a▁a ▁a▁a"}) json["model"]["merges"].push_back(merge);
  const auto tokenizer = MakeTokenizer(json);
  ASSERT_TRUE(tokenizer->ReachesAcrossSpaces());
  for (const char* first : {"", "a ", "a a ", "the ", "the a a "}) {
    std::string text = first;
    while (text.size() < 90'000) text += "a ";
    const std::vector<TokenId> whole = tokenizer->Encode(text, TextPosition::kStart).value();
    EXPECT_TRUE(Stream(*tokenizer, text, 30'000, SpecialTokens::kParse, 1) == whole) << first;
  }
}

// A text that seems to be cut well wherever one looks closely, and nowhere as a whole.
class FarReachingTokenizer : public Tokenizer {
 public:
  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text, TextPosition,
                                              SpecialTokens) const override {
    encoded_bytes += text.size();
    return std::vector<TokenId>(text.size() < 1000 ? text.size() : text.size() / 2);
  }
  std::string_view TokenBytes(TokenId) const override { return "a"; }
  std::string_view Piece(TokenId) const override { return "a"; }
  bool StripsLeadingSpace() const override { return false; }
  bool ReachesAcrossSpaces() const override { return true; }
  int vocab_size() const override { return 1; }
  bool IsSpecial(TokenId) const override { return false; }
  std::optional<TokenId> bos_id() const override { return std::nullopt; }
  std::optional<TokenId> eos_id() const override { return std::nullopt; }
  const std::vector<TokenId>& end_ids() const override { return no_ids_; }
  const std::map<std::string, std::string>& chat_templates() const override { return no_templates_; }

  mutable size_t encoded_bytes = 0;

 private:
  const std::vector<TokenId> no_ids_;
  const std::map<std::string, std::string> no_templates_;
};

TEST(StreamingTokenizerTest, JudgingCutsCostsNoMoreThanAShareOfTheText) {
  std::string text;
  while (text.size() < 300'000) text += "a\n";
  for (const size_t largest : {40, 100'000}) {
    const FarReachingTokenizer tokenizer;
    Stream(tokenizer, text, largest, SpecialTokens::kParse, 1);
    EXPECT_LT(tokenizer.encoded_bytes, 40 * text.size());
  }
}

TEST(StreamingTokenizerTest, CutsALongLineAtASpaceWithoutChangingItsIds) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  std::string line;
  while (line.size() < 200'000) line += line.size() % 3 == 0 ? " wor" : " hello";
  const std::vector<TokenId> whole = tokenizer->Encode(line, TextPosition::kStart).value();
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  std::vector<TokenId> at_once;
  ASSERT_TRUE(stream.Push(line, at_once).ok());
  EXPECT_GT(at_once.size(), whole.size() / 2) << "a line this long is not held back to its end";
  EXPECT_TRUE(Stream(*tokenizer, line, 999, SpecialTokens::kParse, 1) == whole);
}

TEST(StreamingTokenizerTest, HoldsBackNoMoreThan64KiBOfAWordWithoutEnd) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  const std::string word(1 << 20, 'x');
  std::vector<TokenId> ids;
  ASSERT_TRUE(stream.Push(word, ids).ok());
  EXPECT_GE(ids.size(), word.size() - (66 << 10));
  ASSERT_TRUE(stream.Finish(ids).ok());
  EXPECT_EQ(ids.size(), word.size());
}

TEST(StreamingTokenizerTest, AddsTheBeginTokenOnce) {
  const auto tokenizer = MakeTokenizer(TinySentencePieceJson());
  StreamingTokenizer empty(*tokenizer, TextPosition::kStart);
  std::vector<TokenId> ids;
  ASSERT_TRUE(empty.Finish(ids).ok());
  EXPECT_THAT(ids, testing::ElementsAre(1));
  StreamingTokenizer continued(*tokenizer, TextPosition::kContinuation);
  ASSERT_TRUE(continued.Finish(ids).ok());
  EXPECT_THAT(ids, testing::ElementsAre(1));
}

TEST(StreamingTokenizerTest, ReportsTheOffsetOfInvalidBytesInTheStreamAndStaysFailed) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  std::vector<TokenId> ids;
  ASSERT_TRUE(stream.Push(std::string(5000, '\n') + "a\xE2", ids).ok());
  const absl::Status status = stream.Push("(", ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("at byte 5001"));
  const std::vector<TokenId> before = ids;
  EXPECT_EQ(stream.Push("more", ids), status);
  EXPECT_EQ(stream.Finish(ids), status);
  EXPECT_EQ(ids, before);
}

TEST(StreamingTokenizerTest, CountsBytesFromTheFirstByteItWasGiven) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  StreamingTokenizer stream(*tokenizer, TextPosition::kContinuation, SpecialTokens::kParse, 700);
  std::vector<TokenId> ids;
  EXPECT_THAT(std::string(stream.Push("ab\xFF", ids).message()), testing::HasSubstr("at byte 702"));
}

TEST(StreamingTokenizerTest, GivesTheIdsOfAllTextBeforeAnInvalidByte) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  const std::string good = RandomText(3, 9000);
  const std::vector<TokenId> whole = tokenizer->Encode(good, TextPosition::kStart).value();
  StreamingTokenizer in_one_chunk(*tokenizer, TextPosition::kStart);
  std::vector<TokenId> ids;
  EXPECT_TRUE(absl::IsInvalidArgument(in_one_chunk.Push(good + "\xFF more", ids)));
  EXPECT_TRUE(ids == whole);

  StreamingTokenizer cut_off(*tokenizer, TextPosition::kStart);
  ids.clear();
  ASSERT_TRUE(cut_off.Push(good + "\xE2\x82", ids).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(cut_off.Finish(ids)));
  EXPECT_TRUE(ids == whole);
}

TEST(StreamingTokenizerTest, NothingBeforeAnInvalidByteGivesNoIds) {
  const auto tokenizer = MakeTokenizer(TinySentencePieceJson());
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  std::vector<TokenId> ids;
  EXPECT_TRUE(absl::IsInvalidArgument(stream.Push("\xFF", ids)));
  EXPECT_THAT(ids, testing::IsEmpty());
}

TEST(StreamingTokenizerTest, RefusesAnEndInsideACharacter) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  StreamingTokenizer stream(*tokenizer, TextPosition::kStart);
  std::vector<TokenId> ids;
  ASSERT_TRUE(stream.Push("ab\xE2\x82", ids).ok());
  EXPECT_THAT(std::string(stream.Finish(ids).message()), testing::HasSubstr("at byte 2"));
}

}  // namespace
}  // namespace memgate
