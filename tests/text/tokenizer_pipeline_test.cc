// Normalisers, pre-tokenisers and models of tokenizer.json beyond those of the tiny tokenizers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/strings.h"
#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// Splits a text by `pre_tokenizer`, each piece being a token of characters that merge from the left; what a
// piece is spelled like shows where it begins and ends.
std::vector<std::string> Split(const json& pre_tokenizer, std::string_view text,
                               TextPosition position = TextPosition::kStart) {
  json vocab = {{"<unk>", 0}};
  json file = {
      {"model", {{"type", "BPE"}, {"unk_token", "<unk>"}, {"fuse_unk", true}, {"ignore_merges", true}}},
      {"pre_tokenizer", pre_tokenizer},
      {"decoder", nullptr}};
  // All substrings of the text and of the text with marks are pieces, so that every piece of the
  // pre-tokeniser becomes one token.
  std::string marked(text);
  const auto add_all = [&](const std::string& from) {
    for (size_t begin = 0; begin < from.size(); ++begin) {
      for (size_t end = begin + 1; end <= from.size(); ++end) {
        const std::string piece = from.substr(begin, end - begin);
        if (!vocab.contains(piece)) vocab[piece] = vocab.size();
      }
    }
  };
  add_all(Concat("_", marked));
  for (char& c : marked) c = c == ' ' ? '_' : c;
  add_all(Concat("_", marked));
  for (size_t begin = 0; begin < text.size(); ++begin) add_all(Concat("_", marked.substr(begin)));
  file["model"]["vocab"] = vocab;
  file["model"]["merges"] = json::array();
  return Pieces(*MakeTokenizer(file), text, position);
}

json Sequence(std::vector<json> steps) { return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}; }

TEST(PreTokenizerTest, WhitespaceKeepsWordsAndRunsOfPunctuation) {
  EXPECT_THAT(Split({{"type", "Whitespace"}}, "it's  a--b.\n"),
              ElementsAre("it", "'", "s", "a", "--", "b", "."));
}

TEST(PreTokenizerTest, WhitespaceSplitKeepsWhatIsBetween) {
  EXPECT_THAT(Split({{"type", "WhitespaceSplit"}}, " it's\t\n a "), ElementsAre("it's", "a"));
}

TEST(PreTokenizerTest, PunctuationIsThatOfUnicodeAndOfAscii) {
  EXPECT_THAT(Split({{"type", "Punctuation"}}, "a+b--c d"), ElementsAre("a", "+", "b", "-", "-", "c d"));
  EXPECT_THAT(Split({{"type", "Punctuation"}, {"behavior", "Contiguous"}}, "a+b--c"),
              ElementsAre("a", "+", "b", "--", "c"));
}

TEST(PreTokenizerTest, DigitsAreOnePieceOrOneEach) {
  EXPECT_THAT(Split({{"type", "Digits"}}, "a12b3"), ElementsAre("a", "12", "b", "3"));
  EXPECT_THAT(Split({{"type", "Digits"}, {"individual_digits", true}}, "a12b3"),
              ElementsAre("a", "1", "2", "b", "3"));
}

TEST(PreTokenizerTest, DelimitersAreDropped) {
  EXPECT_THAT(Split({{"type", "CharDelimiterSplit"}, {"delimiter", "."}}, ".a..b"), ElementsAre("a", "b"));
}

TEST(PreTokenizerTest, StepsOfASequenceSplitWhatTheOthersLeft) {
  EXPECT_THAT(
      Split(Sequence({{{"type", "WhitespaceSplit"}}, {{"type", "Punctuation"}}, {{"type", "Digits"}}}),
            "a1 b,2"),
      ElementsAre("a", "1", "b", ",", "2"));
}

TEST(PreTokenizerTest, MetaspaceMarksEveryWordThatSpacesWereTakenFrom) {
  const json metaspace = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "always"}};
  const json words = Sequence({{{"type", "WhitespaceSplit"}}, metaspace});
  EXPECT_THAT(Split(words, "a  bc"), ElementsAre("_a", "_bc"));
  EXPECT_THAT(Split(words, "a bc", TextPosition::kContinuation), ElementsAre("a", "_bc"));
  EXPECT_THAT(Split(words, " a bc", TextPosition::kContinuation), ElementsAre("_a", "_bc"));
}

TEST(PreTokenizerTest, NamesUnknownBehaviors) {
  json file = TinyByteLevelJson();
  file["pre_tokenizer"] = {{"type", "Punctuation"}, {"behavior", "Sideways"}};
  EXPECT_THAT(std::string(Tokenizer::FromJson(file.dump(), "").status().message()),
              HasSubstr("\"Sideways\""));
  file["pre_tokenizer"] = {{"type", "CharDelimiterSplit"}, {"delimiter", ""}};
  EXPECT_THAT(std::string(Tokenizer::FromJson(file.dump(), "").status().message()),
              HasSubstr("\"delimiter\" is not one character"));
}

TEST(PreTokenizerTest, CountsTheStepsOfSequencesWithinSequences) {
  json file = TinyByteLevelJson();
  json steps = {{"type", "Digits"}};
  for (int depth = 0; depth < 6; ++depth) steps = Sequence({steps, steps});  // 64 steps
  file["pre_tokenizer"] = steps;
  EXPECT_THAT(std::string(Tokenizer::FromJson(file.dump(), "").status().message()),
              HasSubstr("pre_tokenizer: more than 32 steps"));
  const json metaspace = {{"type", "Metaspace"}};
  file["pre_tokenizer"] = Sequence({metaspace, metaspace, metaspace, metaspace, metaspace});
  EXPECT_THAT(std::string(Tokenizer::FromJson(file.dump(), "").status().message()),
              HasSubstr("more than 4 steps that put something into a text"));
}

TEST(PreTokenizerTest, RefusesStringsThatTakeLongToLookFor) {
  json file = TinyByteLevelJson();
  file["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"String", std::string(300, 'a')}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(std::string(Tokenizer::FromJson(file.dump(), "").status().message()),
              HasSubstr("the string has 300 bytes, more than 256"));
  file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "__"}};
  EXPECT_THAT(std::string(Tokenizer::FromJson(file.dump(), "").status().message()),
              HasSubstr("\"replacement\" is not one character"));
}

// At each place some 2^17 ways are tried, fewer than one place may take.
TEST(PreTokenizerTest, GivesUpOnATextThatPatternsTakeTooLongFor) {
  json file = TinyByteLevelJson();
  const json hostile = {
      {"type", "Split"}, {"pattern", {{"Regex", "(?:a|aa){17}[bc]"}}}, {"behavior", "Isolated"}};
  file["pre_tokenizer"] = Sequence({hostile, file["pre_tokenizer"]});
  const auto tokenizer = MakeTokenizer(file);
  const std::string text(4'000, 'a');
  EXPECT_TRUE(tokenizer->Encode(text.substr(0, 20), TextPosition::kStart).ok());
  const absl::Status status = tokenizer->Encode(text, TextPosition::kStart).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("regular expressions take too long for this text"));
}

TEST(UnigramJsonTest, CutsWordsIntoTheirMostLikelyPieces) {
  const auto tokenizer = MakeTokenizer(TinyUnigramJson());
  EXPECT_THAT(Pieces(*tokenizer, "The  cAt", TextPosition::kStart), ElementsAre("▁the", "▁c", "at"));
  EXPECT_THAT(Pieces(*tokenizer, "é你x", TextPosition::kStart), ElementsAre("▁", "<unk>", "x"));
  EXPECT_EQ(Decode(*tokenizer, *tokenizer->Encode("the cat", TextPosition::kStart), TextPosition::kStart),
            "the cat");
}

TEST(UnigramJsonTest, NamesWhatIsMalformed) {
  const auto message = [](const json& file) {
    const absl::Status status = Tokenizer::FromJson(file.dump(), "").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  json file = TinyUnigramJson();
  file["model"]["vocab"][3] = {"▁the"};
  EXPECT_THAT(message(file), HasSubstr("model.vocab entry 3 is not [\"piece\", score]"));
  file["model"]["vocab"][3] = {"", -1.0};
  EXPECT_THAT(message(file), HasSubstr("piece with id 3 is empty"));
  file = TinyUnigramJson();
  file["model"]["unk_id"] = 1000;
  EXPECT_THAT(message(file), HasSubstr("model.unk_id 1000 is not in the vocabulary"));
  file = TinyUnigramJson();
  file["model"]["vocab"] = {{"a", 1}};
  EXPECT_THAT(message(file), HasSubstr("model.vocab is not an array"));
  file = TinyUnigramJson();
  file["normalizer"]["normalizers"][0]["precompiled_charsmap"] = "?";
  EXPECT_THAT(message(file), HasSubstr("is not Base64"));
  file["normalizer"]["normalizers"][0]["precompiled_charsmap"] = "AAAA";
  EXPECT_THAT(message(file), HasSubstr("precompiled_charsmap"));
}

TEST(NormalizerJsonTest, ReadsTheOtherRules) {
  json file = TinyByteLevelJson();
  const auto pieces = [&](const json& normalizer, std::string_view text) {
    file["normalizer"] = normalizer;
    return Pieces(*MakeTokenizer(file), text, TextPosition::kStart);
  };
  EXPECT_THAT(pieces({{"type", "Lowercase"}}, "HELLO"), ElementsAre("hello"));
  EXPECT_THAT(pieces({{"type", "Strip"}}, "  hello "), ElementsAre("hello"));
  EXPECT_THAT(pieces({{"type", "Strip"}, {"strip_left", false}}, " wor "), ElementsAre("Ġwor"));
  EXPECT_THAT(pieces({{"type", "NFKD"}}, "ｈｅ"), ElementsAre("he"));
  EXPECT_THAT(pieces({{"type", "StripAccents"}}, "he\xCC\x81"), ElementsAre("he"));
  EXPECT_THAT(pieces({{"type", "Nmt"}}, "he\xE2\x80\x8Bwor"), ElementsAre("he", "Ġwor"));
}

TEST(AddedTokenTest, IsFoundInNormalisedTextIfItSaysSo) {
  json file = TinyByteLevelJson();
  file["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_THAT(Pieces(*MakeTokenizer(file), "<NOTE>").size(), 6u);
  file["added_tokens"][1]["normalized"] = true;
  EXPECT_THAT(Pieces(*MakeTokenizer(file), "<NOTE>"), ElementsAre("<note>"));
}

}  // namespace
}  // namespace memgate
