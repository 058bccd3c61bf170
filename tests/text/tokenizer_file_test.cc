// Malformed, hostile and unsupported tokenizer.json and tokenizer_config.json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/strings.h"
#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::HasSubstr;

void ExpectRefused(const json& tokenizer, absl::StatusCode code, const std::string& message,
                   std::string_view config = "") {
  const absl::Status status = Tokenizer::FromJson(tokenizer.dump(), config).status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

void ExpectInvalid(const json& tokenizer, const std::string& message, std::string_view config = "") {
  ExpectRefused(tokenizer, absl::StatusCode::kInvalidArgument, message, config);
}

TEST(TokenizerFileTest, RefusesWhatIsNoJsonObject) {
  for (const char* text : {"", "{", "[]", "12", "{\"model\": 1e999}"}) {
    EXPECT_EQ(Tokenizer::FromJson(text, "").status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(std::string(Tokenizer::FromJson("{\"a\": x}", "").status().message()), HasSubstr("at byte 7"));
}

TEST(TokenizerFileTest, RefusesDeepNesting) {
  const std::string deep = "{\"model\": " + std::string(100000, '[');
  EXPECT_THAT(std::string(Tokenizer::FromJson(deep, "").status().message()), HasSubstr("nested deeper"));
}

TEST(TokenizerFileTest, RefusesIdsThatAreNegativeHugeOrNoIntegers) {
  for (const json& id :
       {json(-1), json(4000000), json(18446744073709551615u), json(1.5), json("7"), json(nullptr)}) {
    json file = TinyByteLevelJson();
    file["model"]["vocab"]["hello"] = id;
    ExpectInvalid(file, "\"hello\"");
  }
}

TEST(TokenizerFileTest, RefusesAnIdFarBeyondTheNumberOfPieces) {
  json file = TinyByteLevelJson();
  file["added_tokens"][1]["id"] = 3999999;
  ExpectInvalid(file, "3999999 is too large for 266 pieces");
}

TEST(TokenizerFileTest, RefusesIdsOrPiecesThatAreTakenTwice) {
  json file = TinyByteLevelJson();
  file["model"]["vocab"]["hello"] = 256;
  ExpectInvalid(file, "id 256 belongs to both");
  file = TinyByteLevelJson();
  file["added_tokens"][1]["id"] = kTinyEnd;
  ExpectInvalid(file, "id 264 is already that of added_tokens 0");
  file = TinyByteLevelJson();
  file["added_tokens"][1]["content"] = "<|end|>";
  ExpectInvalid(file, "has two ids");
}

TEST(TokenizerFileTest, NamesTheMergeThatIsMalformedOrRefersToNothing) {
  json file = TinyByteLevelJson();
  file["model"]["merges"][2] = "he nothing";
  ExpectInvalid(file, "merge 2 refers to \"nothing\"");
  file["model"]["merges"][2] = "hello";
  ExpectInvalid(file, "merge 2 \"hello\" is not two pieces");
  file["model"]["merges"][2] = {"a"};
  ExpectInvalid(file, "merge 2 is neither");
}

TEST(TokenizerFileTest, TakesMergesAsStringsOrPairs) {
  json file = TinyByteLevelJson();
  file["model"]["merges"][0] = {"h", "e"};
  EXPECT_THAT(Pieces(*MakeTokenizer(file), "hello"), testing::ElementsAre("hello"));
}

TEST(TokenizerFileTest, NamesWhatIsNotSupported) {
  const auto unsupported = absl::StatusCode::kUnimplemented;
  json file = TinyByteLevelJson();
  file["model"]["type"] = "WordPiece";
  ExpectRefused(file, unsupported, "\"WordPiece\"");
  file = TinyByteLevelJson();
  file["normalizer"] = {{"type", "BertNormalizer"}};
  ExpectRefused(file, unsupported, "\"BertNormalizer\"");
  file = TinyByteLevelJson();
  file["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
  ExpectRefused(file, unsupported, "\"UnicodeScripts\"");
  file = TinyByteLevelJson();
  file["decoder"] = {{"type", "WordPiece"}};
  ExpectRefused(file, unsupported, "\"WordPiece\"");
  file = TinyByteLevelJson();
  file["post_processor"] = {{"type", "BertProcessing"}};
  ExpectRefused(file, unsupported, "\"BertProcessing\"");
}

TEST(TokenizerFileTest, RefusesABrokenPattern) {
  json file = TinyQwenJson();
  file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a";
  ExpectInvalid(file, "pre_tokenizer: regular expression");
}

TEST(TokenizerFileTest, RefusesABeginTokenThatDoesNotExist) {
  json file = TinySentencePieceJson();
  file["post_processor"]["special_tokens"]["<s>"]["ids"] = {9999};
  ExpectInvalid(file, "unknown id 9999");
  ExpectInvalid(TinyByteLevelJson(), "eos_token \"</s>\"", R"({"eos_token": "</s>"})");
}

TEST(TokenizerFileTest, ReadsTheConfiguration) {
  const auto tokenizer = MakeTokenizer(TinySentencePieceJson(), R"({
    "bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": false,
    "chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->chat_template(), "d");
  EXPECT_THAT(Pieces(*tokenizer, "the", TextPosition::kStart), testing::ElementsAre("▁the"));
}

// The file has "</" among its pieces only, where merges make it of text.
TEST(TokenizerFileTest, BeginAndEndTokensOfTheConfigurationAreSpecial) {
  json file = TinyByteLevelJson();
  file["model"]["vocab"]["</"] = 266;
  file["model"]["merges"].push_back("< /");
  EXPECT_THAT(Pieces(*MakeTokenizer(file), "he</"), testing::ElementsAre("he", "</"));
  const auto tokenizer = MakeTokenizer(file, R"({"eos_token": "</"})");
  EXPECT_TRUE(tokenizer->IsSpecial(266));
  EXPECT_EQ(tokenizer->TokenBytes(266), "");
  EXPECT_THAT(Pieces(*tokenizer, "he</"), testing::ElementsAre("he", "</"));
  EXPECT_THAT(Pieces(*tokenizer, "he</", TextPosition::kContinuation, SpecialTokens::kPlainText),
              testing::ElementsAre("he", "<", "/"));
}

TEST(TokenizerFileTest, RefusesAddedTokensOfTooManyBytes) {
  json file = TinyByteLevelJson();
  const json note = file["added_tokens"][1];
  for (int i = 0; i < 70'000; ++i) {
    json token = note;
    token["id"] = 266 + i;
    token["content"] = Concat(i, std::string(245, 'x'));
    file["added_tokens"].push_back(std::move(token));
  }
  ExpectInvalid(file, "the added tokens have more than 16777216 bytes together");
}

TEST(TokenizerFileTest, AddsABeginTokenThatOnlyTheConfigurationAsksFor) {
  json file = TinySentencePieceJson();
  file["post_processor"] = nullptr;
  const auto tokenizer = MakeTokenizer(file, R"({"bos_token": "<s>", "add_bos_token": true})");
  EXPECT_THAT(Pieces(*tokenizer, "the", TextPosition::kStart), testing::ElementsAre("<s>", "▁the"));
}

TEST(TokenizerFileTest, ReportsAMissingFolder) {
  const absl::Status status = Tokenizer::FromFolder("/no/such/folder").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/folder/tokenizer.json"));
}

}  // namespace
}  // namespace memgate
