// tokenizer.model files: what is read, malformed, hostile and unsupported ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "tests/text/charsmap_blobs.h"
#include "tests/text/sentencepiece_files.h"
#include "tests/text/shared_data.h"
#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kUnigram = 1, kBpe = 2;
constexpr int kUserDefined = 4, kUnused = 5, kByte = 6;

std::unique_ptr<Tokenizer> Make(const std::string& file, std::string_view config = "") {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromSentencePiece(file, config);
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status();
    std::abort();
  }
  return *std::move(tokenizer);
}

void ExpectRefused(const std::string& file, absl::StatusCode code, const std::string& message) {
  const absl::Status status = Tokenizer::FromSentencePiece(file, "").status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.model: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(SentencePieceSpecTest, BpeMergesTheBestScoreFirst) {
  const auto tokenizer = Make(TinySentencePieceFile(kBpe));
  EXPECT_THAT(Pieces(*tokenizer, "abc ab", TextPosition::kStart), ElementsAre("<s>", "▁abc", "▁a", "b"));
  EXPECT_THAT(Pieces(*tokenizer, "abc"), ElementsAre("a", "bc"))
      << "no space is put into a text that goes on";
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_THAT(tokenizer->end_ids(), ElementsAre(2));
}

TEST(SentencePieceSpecTest, UnigramTakesTheLargestSumAndBeginsWithoutToken) {
  const auto tokenizer = Make(TinySentencePieceFile(kUnigram));
  EXPECT_THAT(Pieces(*tokenizer, "abc abcd", TextPosition::kStart), ElementsAre("▁abc", "▁abc", "d"));
  EXPECT_THAT(Pieces(*tokenizer, " xy", TextPosition::kStart), ElementsAre("▁", "▁", "<unk>"));
}

TEST(SentencePieceSpecTest, FindsControlSymbolsOnlyWhereAsked) {
  const auto tokenizer = Make(TinySentencePieceFile(kBpe));
  EXPECT_THAT(Pieces(*tokenizer, "</s>abc"), ElementsAre("</s>", "▁abc"));
  EXPECT_THAT(Pieces(*tokenizer, "</s>", TextPosition::kContinuation, SpecialTokens::kPlainText),
              ElementsAre("<unk>"));
  EXPECT_TRUE(tokenizer->IsSpecial(2));
}

TEST(SentencePieceSpecTest, UserDefinedSymbolsAreAlwaysPiecesOfTheirOwn) {
  const auto tokenizer = Make(TinySentencePieceFile(kBpe) + PieceField("bca", 0, kUserDefined) +
                              PieceField("▁▁", 0, kUserDefined));
  EXPECT_THAT(Pieces(*tokenizer, "abcabc", TextPosition::kStart, SpecialTokens::kPlainText),
              ElementsAre("<s>", "▁a", "bca", "bc"));
  EXPECT_THAT(Pieces(*tokenizer, " a  a"), ElementsAre("▁a", "▁▁", "a"));
  EXPECT_EQ(tokenizer->TokenBytes(14), "  ");
  EXPECT_FALSE(tokenizer->IsSpecial(14));
}

TEST(SentencePieceSpecTest, NoTextBecomesAnUnusedPiece) {
  const std::string file = TinySentencePieceFile(kBpe) + PieceField("de", 0, kUnused);
  EXPECT_THAT(Pieces(*Make(file), "de"), ElementsAre("d", "e"));
  EXPECT_EQ(Make(file)->vocab_size(), 14);
}

TEST(SentencePieceSpecTest, FurtherTokensAreFoundInTheTextAsItIsWritten) {
  const auto tokenizer = Make(TinySentencePieceFile(kBpe), R"({
    "added_tokens_decoder": {"20": {"content": "<extra>", "normalized": true}}})");
  EXPECT_THAT(Pieces(*tokenizer, "abc<extra>", TextPosition::kStart), ElementsAre("<s>", "▁abc", "<extra>"));
  EXPECT_THAT(Pieces(*tokenizer, "a <extra>b"), ElementsAre("a", "▁", "<extra>", "▁", "b"));
  EXPECT_FALSE(tokenizer->IsSpecial(20));
}

TEST(SentencePieceSpecTest, SpellsUnknownCharactersInBytes) {
  const std::string file = TinySentencePieceFile(kBpe) + PieceField("<0xC3>", 0, kByte) +
                           PieceField("<0xA9>", 0, kByte) + BytesField(2, VarintField(35, 1));
  const auto tokenizer = Make(file);
  EXPECT_THAT(Pieces(*tokenizer, "aé"), ElementsAre("a", "<0xC3>", "<0xA9>"));
  EXPECT_EQ(Decode(*tokenizer, {13, 14}, TextPosition::kContinuation), "é");
}

TEST(SentencePieceSpecTest, NormalisesAsTheFileSays) {
  const std::string normalizer =
      BytesField(2, CharsmapBlob({{"A", "a"}, {"B", "b"}})) + VarintField(3, 0) + VarintField(4, 1);
  const auto tokenizer = Make(TinySentencePieceFile(kBpe) + BytesField(3, normalizer));
  EXPECT_THAT(Pieces(*tokenizer, "  ABc   a ", TextPosition::kStart), ElementsAre("<s>", "a", "bc", "▁a"));
}

TEST(SentencePieceSpecTest, TheConfigurationNamesTokensAndAddsSome) {
  const auto tokenizer = Make(TinySentencePieceFile(kBpe), R"({
    "eos_token": "<|end|>", "add_bos_token": false, "chat_template": "t",
    "added_tokens_decoder": {
      "1": {"content": "<s>", "special": true},
      "20": {"content": "<|end|>", "special": true, "normalized": false}}})");
  EXPECT_THAT(Pieces(*tokenizer, "abc<|end|>", TextPosition::kStart), ElementsAre("▁abc", "<|end|>"));
  EXPECT_EQ(tokenizer->eos_id(), 20);
  EXPECT_EQ(tokenizer->vocab_size(), 21);
  EXPECT_THAT(tokenizer->chat_templates(), ElementsAre(testing::Pair("default", "t")));
  const auto refused = [](const char* config) {
    return std::string(Tokenizer::FromSentencePiece(TinySentencePieceFile(kBpe), config).status().message());
  };
  EXPECT_THAT(refused(R"({"added_tokens_decoder": {"x": {"content": "y"}}})"), HasSubstr("\"x\": not an id"));
  EXPECT_THAT(refused(R"({"added_tokens_decoder": {"-1": {"content": "y"}}})"), HasSubstr("is not in [0"));
  EXPECT_THAT(refused(R"({"added_tokens_decoder": {"30": {"content": "a"}}})"), HasSubstr("has two ids"));
  EXPECT_THAT(refused(R"({"added_tokens_decoder": {"900000": {"content": "y"}}})"), HasSubstr("too large"));
}

TEST(SentencePieceSpecTest, RefusesWhatIsNoSuchFile) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  ExpectRefused("", invalid, "the vocabulary is empty");
  ExpectRefused("IQ== 0\nIg== 1\n", invalid, "not a SentencePiece model");
  const std::string file = TinySentencePieceFile(kBpe);
  ExpectRefused(file.substr(0, file.size() - 3), invalid, "field at byte");
  ExpectRefused(file + "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", invalid, "bytes where 0 are left");
  ExpectRefused(file + "\x08" + std::string(11, '\xFF'), invalid, "an integer that does not end");
  ExpectRefused(file + "\x0B", invalid, "wire type 3");
  ExpectRefused(file + VarintField(1, 5), invalid, "field 1 is not a string or message");
}

TEST(SentencePieceSpecTest, NamesThePieceThatIsMalformed) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const std::string file = TinySentencePieceFile(kBpe);
  ExpectRefused(file + PieceField("", 0), invalid, "piece 13: is empty");
  ExpectRefused(file + PieceField("\xFF", 0), invalid, "piece 13: \"\\377\" is not valid UTF-8");
  ExpectRefused(file + PieceField("x", 0, 9), invalid, "piece 13: has the unknown type 9");
  ExpectRefused(file + PieceField("a", 0), invalid, "\"a\" has two ids");
  ExpectRefused(file + PieceField("x", std::numeric_limits<float>::quiet_NaN()), invalid,
                "piece 13 is not finite");
  ExpectRefused(file + PieceField(std::string(2000, 'x'), 0), invalid, "piece 13 of 2000 bytes");
  ExpectRefused(file + PieceField(std::string(300, 'x'), 0, kUserDefined), invalid,
                "symbol 13 has 300 bytes");
  ExpectRefused(file + BytesField(3, BytesField(2, "abc")), invalid, "precompiled_charsmap");
}

TEST(SentencePieceSpecTest, NamesWhatIsNotSupported) {
  const auto unsupported = absl::StatusCode::kUnimplemented;
  ExpectRefused(TinySentencePieceFile(4), unsupported, "model type 4");
  ExpectRefused(TinySentencePieceFile(kBpe) + BytesField(2, VarintField(24, 1)), unsupported,
                "treat_whitespace_as_suffix");
  ExpectRefused(TinySentencePieceFile(kBpe) + BytesField(5, BytesField(2, "x")), unsupported,
                "denormalizer_spec");
}

TEST(SentencePieceSpecTest, IsReadFromAFolderWithoutTokenizerJson) {
  const std::string folder = testing::TempDir() + "sentencepiece_folder";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/tokenizer.model", std::ios::binary) << TinySentencePieceFile(kBpe);
  const auto tokenizer = Tokenizer::FromFolder(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(Pieces(**tokenizer, " abc"), ElementsAre("▁abc"));
  std::ofstream(folder + "/tokenizer.model", std::ios::binary) << "\xFF";
  EXPECT_THAT(std::string(Tokenizer::FromFolder(folder).status().message()),
              HasSubstr("sentencepiece_folder: tokenizer.model: not a SentencePiece model"));
  std::filesystem::remove_all(folder);
}

TEST(PublishedSentencePieceModelTest, IdsEqualThoseOfOtherImplementations) {
  const std::string folder = kData + "/tokenizers/llama2";
  SKIP_WITHOUT(folder);
  const auto tokenizer =
      Make(ReadText(folder + "/tokenizer.model"), ReadText(folder + "/tokenizer_config.json"));
  size_t compared = 0;
  for (const nlohmann::json& vector : ReadJson(folder + "/vectors.json")) {
    if (!vector["second_implementation_agrees"]) continue;  // holds special tokens
    const std::string text = vector["text"];
    const std::vector<TokenId> ids = EncodeBare(*tokenizer, text);
    EXPECT_EQ(ids, vector["ids"].get<std::vector<TokenId>>()) << text;
    EXPECT_EQ(Decode(*tokenizer, ids, TextPosition::kStart), text);
    ++compared;
  }
  EXPECT_GE(compared, 931u);
}

TEST(PublishedSentencePieceModelTest, IdsOfStoriesEqualThoseOfOtherImplementations) {
  const std::string folder = kData + "/models/stories260K-hf";
  SKIP_WITHOUT(folder);
  const auto tokenizer = Make(ReadText(folder + "/tokenizer.model"));
  const nlohmann::json vectors = ReadJson(kData + "/models/expected/stories260K.tokenizer-vectors.json");
  ASSERT_EQ(vectors.size(), 400u);
  for (const nlohmann::json& vector : vectors) {
    const std::string text = vector["text"];
    const std::vector<TokenId> ids = *tokenizer->Encode(text, TextPosition::kStart);
    EXPECT_EQ(ids, vector["ids_with_bos"].get<std::vector<TokenId>>()) << text;
    EXPECT_EQ(Decode(*tokenizer, ids, TextPosition::kStart), text);
  }
}

}  // namespace
}  // namespace memgate
