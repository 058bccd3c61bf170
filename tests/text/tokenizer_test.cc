#include "engine/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(TokenizerTest, MergesWithinThePiecesOfThePreTokenizer) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  EXPECT_THAT(Pieces(*tokenizer, "hello wor\n\n"), ElementsAre("hello", "Ġwor", "ĊĊ"));
  EXPECT_THAT(Pieces(*tokenizer, "hello\n\nhe"), ElementsAre("hello", "Ċ", "Ċ", "he"));
  EXPECT_THAT(Pieces(*MakeTokenizer(TinyQwenJson()), "hello\n\nhe"), ElementsAre("hello", "ĊĊ", "he"));
}

TEST(TokenizerTest, ComposesTextBeforeEncodingIfTheFileSaysNfc) {
  const auto tokenizer = MakeTokenizer(TinyQwenJson());
  EXPECT_EQ(*tokenizer->Encode("e\xCC\x81", TextPosition::kStart),
            *tokenizer->Encode("é", TextPosition::kStart));
}

TEST(TokenizerTest, ParsesSpecialTokensOnlyWhereAsked) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  EXPECT_THAT(Pieces(*tokenizer, "he<|end|><note>"), ElementsAre("he", "<|end|>", "<note>"));
  EXPECT_THAT(Pieces(*tokenizer, "<|end|><note>", TextPosition::kStart, SpecialTokens::kPlainText),
              ElementsAre("<", "|", "e", "n", "d", "|", ">", "<note>"));
  EXPECT_TRUE(tokenizer->IsSpecial(kTinyEnd));
  EXPECT_FALSE(tokenizer->IsSpecial(kTinyNote));
  EXPECT_EQ(tokenizer->TokenBytes(kTinyEnd), "");
  EXPECT_EQ(tokenizer->TokenBytes(kTinyNote), "<note>");
}

TEST(TokenizerTest, HonoursTheFlagsOfAddedTokens) {
  auto json = TinyByteLevelJson();
  json["added_tokens"][1]["lstrip"] = true;
  json["added_tokens"][1]["rstrip"] = true;
  EXPECT_THAT(Pieces(*MakeTokenizer(json), "he \n<note>\t he"), ElementsAre("he", "<note>", "he"));
  json["added_tokens"][1]["single_word"] = true;
  EXPECT_THAT(Pieces(*MakeTokenizer(json), "a<note>").size(), 7u);
  EXPECT_THAT(Pieces(*MakeTokenizer(json), ".<note>."), ElementsAre(".", "<note>", "."));
}

TEST(TokenizerTest, PrefersTheLongestAddedToken) {
  auto json = TinyByteLevelJson();
  auto longer = json["added_tokens"][1];
  longer["id"] = 266;
  longer["content"] = "<note>!";
  json["added_tokens"].push_back(longer);
  EXPECT_THAT(Pieces(*MakeTokenizer(json), "<note>!<note>"), ElementsAre("<note>!", "<note>"));
}

TEST(TokenizerTest, PutsBeginTokenAndDummySpaceOnlyAtTheStart) {
  const auto tokenizer = MakeTokenizer(TinySentencePieceJson());
  EXPECT_THAT(Pieces(*tokenizer, "the cat", TextPosition::kStart), ElementsAre("<s>", "▁the", "▁cat"));
  EXPECT_THAT(Pieces(*tokenizer, "the cat"), ElementsAre("t", "he", "▁cat"));
  EXPECT_THAT(Pieces(*tokenizer, " the"), ElementsAre("▁the"));
  EXPECT_TRUE(tokenizer->StripsLeadingSpace());
}

TEST(TokenizerTest, SpellsUnknownCharactersInBytes) {
  const auto tokenizer = MakeTokenizer(TinySentencePieceJson());
  EXPECT_THAT(Pieces(*tokenizer, "é\n"), ElementsAre("<0xC3>", "<0xA9>", "<0x0A>"));
  EXPECT_EQ(Decode(*tokenizer, *tokenizer->Encode("é\n🙂", TextPosition::kStart), TextPosition::kStart),
            "é\n🙂");
}

TEST(TokenizerTest, MetaspacePrependsAsItsSchemeSays) {
  auto json = TinySentencePieceJson();
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"split", true}};
  const auto pieces = [&](const char* scheme, std::string_view text, TextPosition position) {
    json["pre_tokenizer"]["prepend_scheme"] = scheme;
    return Pieces(*MakeTokenizer(json), text, position);
  };
  EXPECT_THAT(pieces("always", "the</s>the", TextPosition::kStart),
              ElementsAre("<s>", "▁the", "</s>", "▁the"));
  EXPECT_THAT(pieces("first", "the</s>the", TextPosition::kStart),
              ElementsAre("<s>", "▁the", "</s>", "t", "he"));
  EXPECT_THAT(pieces("never", "the", TextPosition::kStart), ElementsAre("<s>", "t", "he"));
  EXPECT_THAT(pieces("always", "the", TextPosition::kContinuation), ElementsAre("t", "he"));
}

TEST(TokenizerTest, AddsAPrefixSpaceToByteLevelTextOnlyAtTheStart) {
  auto json = TinyByteLevelJson();
  json["pre_tokenizer"]["add_prefix_space"] = true;
  const auto tokenizer = MakeTokenizer(json);
  EXPECT_THAT(Pieces(*tokenizer, "wor", TextPosition::kStart), ElementsAre("Ġwor"));
  EXPECT_THAT(Pieces(*tokenizer, " wor", TextPosition::kStart), ElementsAre("Ġwor"));
  EXPECT_THAT(Pieces(*tokenizer, "wor"), ElementsAre("w", "or"));
}

TEST(TokenizerTest, ReportsTheOffsetOfInvalidUtf8) {
  const absl::Status status =
      MakeTokenizer(TinyByteLevelJson())->Encode("hello\xFF", TextPosition::kStart).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("at byte 5"));
}

TEST(TokenizerTest, LooksUpNoIdOutsideTheVocabulary) {
  const auto tokenizer = MakeTokenizer(TinyByteLevelJson());
  EXPECT_EQ(tokenizer->vocab_size(), 266);
  for (const TokenId id : {-1, 266, 1 << 30}) {
    EXPECT_EQ(tokenizer->TokenBytes(id), "");
    EXPECT_EQ(tokenizer->Piece(id), "");
    EXPECT_FALSE(tokenizer->IsSpecial(id));
  }
}

TEST(TokenizerTest, RoundTripsArbitraryText) {
  const std::string text("tabs\t, breaks\r\n, \0 zero, é, e\xCC\x81, 你好, 🙂🏽, \xC2\xA0 end  ", 56);
  for (const auto& json : {TinyByteLevelJson(), TinySentencePieceJson()}) {
    const auto tokenizer = MakeTokenizer(json);
    const auto ids = tokenizer->Encode(text, TextPosition::kStart, SpecialTokens::kPlainText);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(Decode(*tokenizer, *ids, TextPosition::kStart), text);
  }
}

TEST(TokenizerTest, RoundTripsRandomText) {
  for (const auto& json : {TinyByteLevelJson(), TinySentencePieceJson()}) {
    const auto tokenizer = MakeTokenizer(json);
    for (uint32_t seed = 0; seed < 500; ++seed) {
      const std::string text = RandomUtf8(seed, seed % 100);
      for (const TextPosition position : {TextPosition::kStart, TextPosition::kContinuation}) {
        const auto ids = tokenizer->Encode(text, position, SpecialTokens::kPlainText);
        ASSERT_TRUE(ids.ok()) << ids.status();
        ASSERT_EQ(Decode(*tokenizer, *ids, position), text) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace memgate
