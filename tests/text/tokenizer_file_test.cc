// Malformed, hostile and unsupported tokenizer.json and tokenizer_config.json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>

#include "engine/base/strings.h"
#include "tests/support/temp_folder.h"
#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

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
  EXPECT_THAT(Pieces(*MakeTokenizer(file), "hello"), ElementsAre("hello"));
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
    "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_THAT(tokenizer->chat_templates(), ElementsAre(Pair("default", "d"), Pair("tool_use", "t")));
  EXPECT_THAT(Pieces(*tokenizer, "the", TextPosition::kStart), ElementsAre("▁the"));
}

TEST(TokenizerFileTest, TemplateFilesReplaceThoseOfTheConfiguration) {
  const TempFolder folder;
  folder.Write("tokenizer.json", TinyByteLevelJson().dump());
  folder.Write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "d"},
                                                              {"name": "rag", "template": "r"}]})");
  const auto templates = [&] {
    const auto tokenizer = Tokenizer::FromFolder(folder.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? (*tokenizer)->chat_templates() : std::map<std::string, std::string>();
  };
  EXPECT_THAT(templates(), ElementsAre(Pair("default", "d"), Pair("rag", "r")));
  std::filesystem::create_directory(folder.File("additional_chat_templates"));
  folder.Write("additional_chat_templates/tool_use.jinja", "t");
  folder.Write("additional_chat_templates/note.txt", "n");
  EXPECT_THAT(templates(), ElementsAre(Pair("default", "d"), Pair("rag", "r"), Pair("tool_use", "t")));
  folder.Write("chat_template.jinja", "c");
  EXPECT_THAT(templates(), ElementsAre(Pair("default", "c"), Pair("tool_use", "t")));
  // One that nothing uses is named, and not read.
  std::filesystem::create_directory(folder.File("additional_chat_templates/rag.jinja"));
  EXPECT_THAT(templates(), ElementsAre(Pair("default", "c"), Pair("rag", ""), Pair("tool_use", "t")));
}

TEST(TokenizerFileTest, NamedPipesAreRefusedAtOnce) {
  const TempFolder folder;
  const std::string path = folder.File("tokenizer.json");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(Tokenizer::FromFolder(folder.path()).status().message(), path + ": not a regular file");
}

TEST(TokenizerFileTest, RefusesAFolderOfVeryManyTemplates) {
  const TempFolder folder;
  folder.Write("tokenizer.json", TinyByteLevelJson().dump());
  std::filesystem::create_directory(folder.File("additional_chat_templates"));
  for (int i = 0; i < 65; ++i) folder.Write(Concat("additional_chat_templates/", i, ".jinja"), "t");
  const absl::Status status = Tokenizer::FromFolder(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("additional_chat_templates: more than 64 chat templates"));
}

TEST(TokenizerFileTest, RefusesTemplatesThatAreNoText) {
  ExpectInvalid(TinyByteLevelJson(), "\"chat_template\" is not a string", R"({"chat_template": 3})");
  ExpectInvalid(TinyByteLevelJson(), "chat_template: \"template\" is not a string",
                R"({"chat_template": [{"name": "default", "template": 3}]})");
}

// A rendered chat brings the begin token itself, or is to have none.
TEST(TokenizerFileTest, TextsMayBeginAsTheyAreWritten) {
  const auto tokenizer = MakeTokenizer(TinySentencePieceJson());
  EXPECT_THAT(Pieces(*tokenizer, "the", TextPosition::kStart), ElementsAre("<s>", "▁the"));
  EXPECT_THAT(Pieces(*tokenizer, "the", TextPosition::kStartAsWritten), ElementsAre("▁the"));
  std::vector<std::string> twice = Pieces(*tokenizer, "<s>the", TextPosition::kStart);
  ASSERT_THAT(twice, ElementsAre("<s>", "<s>", testing::_));
  twice.erase(twice.begin());
  EXPECT_EQ(Pieces(*tokenizer, "<s>the", TextPosition::kStartAsWritten), twice);
  EXPECT_EQ(Decode(*tokenizer, *tokenizer->Encode("the", TextPosition::kStartAsWritten),
                   TextPosition::kStartAsWritten),
            "the");
}

TEST(TokenizerFileTest, TokensThatEndTurnsByTheirNameEndAnswers) {
  json file = TinyByteLevelJson();  // <|end|>
  EXPECT_THAT(MakeTokenizer(file)->end_ids(), ElementsAre(kTinyEnd));
  EXPECT_THAT(MakeTokenizer(file, R"({"eos_token": "<note>"})")->end_ids(), ElementsAre(kTinyNote, kTinyEnd));
  EXPECT_THAT(MakeTokenizer(file, R"({"eos_token": "<|end|>"})")->end_ids(), ElementsAre(kTinyEnd));
  file["added_tokens"][1]["content"] = "<|im_end|>";  // not special: only forgotten to say so
  EXPECT_THAT(MakeTokenizer(file)->end_ids(), ElementsAre(kTinyEnd, kTinyNote));
  EXPECT_TRUE(MakeTokenizer(file)->IsSpecial(kTinyNote));
  file["added_tokens"][1]["content"] = "</s>";
  EXPECT_THAT(MakeTokenizer(file)->end_ids(), ElementsAre(kTinyEnd)) << "HTML";
}

// The file has "</" among its pieces only, where merges make it of text.
TEST(TokenizerFileTest, BeginAndEndTokensOfTheConfigurationAreSpecial) {
  json file = TinyByteLevelJson();
  file["model"]["vocab"]["</"] = 266;
  file["model"]["merges"].push_back("< /");
  EXPECT_THAT(Pieces(*MakeTokenizer(file), "he</"), ElementsAre("he", "</"));
  const auto tokenizer = MakeTokenizer(file, R"({"eos_token": "</"})");
  EXPECT_TRUE(tokenizer->IsSpecial(266));
  EXPECT_EQ(tokenizer->TokenBytes(266), "");
  EXPECT_THAT(Pieces(*tokenizer, "he</"), ElementsAre("he", "</"));
  EXPECT_THAT(Pieces(*tokenizer, "he</", TextPosition::kContinuation, SpecialTokens::kPlainText),
              ElementsAre("he", "<", "/"));
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
  EXPECT_THAT(Pieces(*tokenizer, "the", TextPosition::kStart), ElementsAre("<s>", "▁the"));
}

TEST(TokenizerFileTest, ReportsAMissingFolder) {
  const absl::Status status = Tokenizer::FromFolder("/no/such/folder").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/folder/tokenizer.json"));
}

}  // namespace
}  // namespace memgate
