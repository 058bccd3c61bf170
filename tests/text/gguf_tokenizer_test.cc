// Tokenizers from the metadata of GGUF files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iterator>
#include <limits>
#include <sstream>

#include "engine/text/sentencepiece_model.h"
#include "tests/text/charsmap_blobs.h"
#include "tests/text/gguf_vocabularies.h"
#include "tests/text/sentencepiece_files.h"
#include "tests/text/shared_data.h"
#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Tokenizer> Make(const GgufVocabulary& vocabulary) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromGguf(vocabulary);
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status();
    std::abort();
  }
  return *std::move(tokenizer);
}

GgufVocabulary TinyByteLevel() { return GgufVocabularyOf(TinyByteLevelJson(), "gpt-2"); }

// "▁the" and "▁cat" with the pieces between, <s> and </s> as begin and end.
GgufVocabulary TinySentencePiece() {
  GgufVocabulary vocabulary = GgufVocabularyOf(TinySentencePieceJson(), "default");
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  return vocabulary;
}

void SetType(GgufVocabulary& vocabulary, TokenId id, GgufTokenType type) {
  vocabulary.types[id] = static_cast<int32_t>(type);
}

void ExpectRefused(const GgufVocabulary& vocabulary, absl::StatusCode code, const std::string& message) {
  const absl::Status status = Tokenizer::FromGguf(vocabulary).status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

void ExpectInvalid(const GgufVocabulary& vocabulary, const std::string& message) {
  ExpectRefused(vocabulary, absl::StatusCode::kInvalidArgument, message);
}

TEST(GgufTokenizerTest, ByteLevelVocabularyGivesTheIdsOfItsTokenizerJson) {
  const auto from_gguf = Make(TinyByteLevel());
  const auto from_json = MakeTokenizer(TinyByteLevelJson());
  const std::string text = "hello wor\n\n he<|end|><note>\xC3\xA9";
  EXPECT_EQ(*from_gguf->Encode(text, TextPosition::kStart), *from_json->Encode(text, TextPosition::kStart));
  EXPECT_EQ(from_gguf->vocab_size(), from_json->vocab_size());
  EXPECT_TRUE(from_gguf->IsSpecial(kTinyEnd));
  EXPECT_FALSE(from_gguf->IsSpecial(kTinyNote));
}

TEST(GgufTokenizerTest, MergesByScoreWhereThereAreNoMerges) {
  const auto tokenizer = Make(TinySentencePiece());
  EXPECT_THAT(Pieces(*tokenizer, "the cat", TextPosition::kStart), ElementsAre("<s>", "▁the", "▁cat"));
  EXPECT_THAT(Pieces(*tokenizer, "the cat"), ElementsAre("t", "he", "▁cat"));
  EXPECT_EQ(Decode(*tokenizer, *tokenizer->Encode("the cat", TextPosition::kStart), TextPosition::kStart),
            "the cat");
}

TEST(GgufTokenizerTest, NeverMergesTextIntoBytesControlOrUnusedTokens) {
  GgufVocabulary vocabulary = TinySentencePiece();
  const auto tokenizer = Make(vocabulary);
  EXPECT_THAT(Pieces(*tokenizer, "<0x0A>").size(), 6u) << "a byte's spelling is not the byte";
  const TokenId the = tokenizer->Encode(" the", TextPosition::kContinuation)->front();
  for (const GgufTokenType type : {GgufTokenType::kUnused, GgufTokenType::kByte}) {
    SetType(vocabulary, the, type);
    EXPECT_THAT(Pieces(*Make(vocabulary), " the"), ElementsAre("▁t", "he"));
  }
}

TEST(GgufTokenizerTest, PutsNoSpaceBeforeATextIfTheFileSaysSo) {
  GgufVocabulary vocabulary = TinySentencePiece();
  vocabulary.add_space_prefix = false;
  const auto tokenizer = Make(vocabulary);
  EXPECT_THAT(Pieces(*tokenizer, "the", TextPosition::kStart), ElementsAre("<s>", "t", "he"));
  EXPECT_FALSE(tokenizer->StripsLeadingSpace());
}

TEST(GgufTokenizerTest, PutsTheBeginTokenWhereTheFileOrItsFamilySaysSo) {
  GgufVocabulary vocabulary = TinyByteLevel();
  vocabulary.bos_id = kTinyEnd;
  const auto begin_ids = [&] { return *Make(vocabulary)->Encode("", TextPosition::kStart); };
  EXPECT_THAT(begin_ids(), ElementsAre());
  vocabulary.pre = "llama-bpe";
  EXPECT_THAT(begin_ids(), ElementsAre(kTinyEnd));
  vocabulary.add_bos = false;
  EXPECT_THAT(begin_ids(), ElementsAre());
  vocabulary.pre = "gpt-2";
  vocabulary.add_bos = true;
  EXPECT_THAT(begin_ids(), ElementsAre(kTinyEnd));
}

TEST(GgufTokenizerTest, EndsAnswersAtTheEndTokenAndAtTheEndsOfTurnsThatItKnowsByName) {
  GgufVocabulary vocabulary = TinyByteLevel();
  vocabulary.tokens[kTinyEnd] = "<|done|>";
  vocabulary.eos_id = kTinyNote;
  EXPECT_THAT(Make(vocabulary)->end_ids(), ElementsAre(kTinyNote));
  EXPECT_TRUE(Make(vocabulary)->IsSpecial(kTinyNote)) << "an end token is no text, whatever its type";
  vocabulary.tokens[kTinyEnd] = "<|im_end|>";
  EXPECT_THAT(Make(vocabulary)->end_ids(), ElementsAre(kTinyNote, kTinyEnd));
  vocabulary.tokens[kTinyEnd] = "<|done|>";
  vocabulary.eot_id = kTinyEnd;
  EXPECT_THAT(Make(vocabulary)->end_ids(), ElementsAre(kTinyNote, kTinyEnd));
}

TEST(GgufTokenizerTest, EndsOfTurnsThatTheFileCallsNormalAreStillNoText) {
  GgufVocabulary vocabulary = TinyByteLevel();
  vocabulary.tokens[kTinyEnd] = "<|done|>";
  SetType(vocabulary, kTinyNote, GgufTokenType::kNormal);
  vocabulary.tokens[kTinyNote] = "<|im_end|>";
  auto tokenizer = Make(vocabulary);
  EXPECT_THAT(tokenizer->end_ids(), ElementsAre(kTinyNote));
  EXPECT_TRUE(tokenizer->IsSpecial(kTinyNote));
  EXPECT_THAT(Pieces(*tokenizer, "he<|im_end|>"), ElementsAre("he", "<|im_end|>"));
  EXPECT_THAT(*tokenizer->Encode("<|im_end|>", TextPosition::kContinuation, SpecialTokens::kPlainText),
              testing::Not(testing::Contains(kTinyNote)));
  // What is HTML, too, ends nothing unless the file says so.
  vocabulary.tokens[kTinyNote] = "</s>";
  EXPECT_THAT(Make(vocabulary)->end_ids(), ElementsAre());
  SetType(vocabulary, kTinyNote, GgufTokenType::kControl);
  EXPECT_THAT(Make(vocabulary)->end_ids(), ElementsAre(kTinyNote));
}

TEST(GgufTokenizerTest, RefusesPiecesOfTooManyBytes) {
  GgufVocabulary vocabulary = TinyByteLevel();
  for (int i = 0; i < 40; ++i) {
    vocabulary.tokens.push_back(std::string(1 << 20, static_cast<char>('A' + i)));
    vocabulary.types.push_back(static_cast<int32_t>(GgufTokenType::kNormal));
  }
  ExpectInvalid(vocabulary, "bytes together, more than 33554432");
}

TEST(GgufTokenizerTest, UnigramVocabularyGivesTheIdsOfItsSentencePieceModel) {
  const std::string normalizer =
      BytesField(2, CharsmapBlob({{"A", "a"}, {"é", "e"}})) + VarintField(3, 1) + VarintField(4, 1);
  const std::string file = TinySentencePieceFile(/*kind=*/1) + BytesField(3, normalizer);
  const SentencePieceModel model = *ParseSentencePieceModel(file);
  GgufVocabulary vocabulary{
      .model = "t5", .eos_id = 2, .add_space_prefix = true, .remove_extra_whitespaces = true};
  vocabulary.precompiled_charsmap = model.precompiled_charsmap;
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    vocabulary.tokens.push_back(piece.text);
    vocabulary.scores.push_back(piece.score);
    vocabulary.types.push_back(static_cast<int32_t>(piece.type));
  }
  const auto from_gguf = Make(vocabulary);
  const auto from_model = *Tokenizer::FromSentencePiece(file, "");
  for (const char* text : {"", "abc", "  ABc  aé ", "abcabc</s>bc", "xyz a", " "}) {
    for (const TextPosition position : {TextPosition::kStart, TextPosition::kContinuation}) {
      EXPECT_EQ(*from_gguf->Encode(text, position), *from_model->Encode(text, position)) << text;
    }
  }
  EXPECT_TRUE(from_gguf->StripsLeadingSpace());
  vocabulary.add_space_prefix = vocabulary.remove_extra_whitespaces = std::nullopt;
  EXPECT_THAT(Pieces(*Make(vocabulary), "  a", TextPosition::kStart), ElementsAre("▁", "▁a"));
}

TEST(GgufTokenizerTest, Phi3sRoleTokensSwallowTheWhiteSpaceAfterThem) {
  GgufVocabulary vocabulary = TinySentencePiece();
  for (const char* token : {"<|assistant|>", "<|placeholder1|>"}) {
    vocabulary.tokens.push_back(token);
    vocabulary.scores.push_back(0);
    vocabulary.types.push_back(static_cast<int32_t>(GgufTokenType::kControl));
  }
  EXPECT_THAT(Pieces(*Make(vocabulary), "<|assistant|>\n the"), ElementsAre("<|assistant|>", "▁the"));
  EXPECT_THAT(Pieces(*Make(vocabulary), "<s> the"), ElementsAre("<s>", "▁", "▁the"));
  vocabulary.tokens.back() = "<|other|>";
  EXPECT_THAT(Pieces(*Make(vocabulary), "<|assistant|> the"), ElementsAre("<|assistant|>", "▁", "▁the"));
}

TEST(GgufTokenizerTest, EmptyTokensHoldAnIdAndNothingElse) {
  GgufVocabulary vocabulary = TinyByteLevel();
  vocabulary.tokens.push_back("");
  vocabulary.tokens.push_back("<last>");
  vocabulary.types.resize(vocabulary.tokens.size(), static_cast<int32_t>(GgufTokenType::kUserDefined));
  const auto tokenizer = Make(vocabulary);
  EXPECT_EQ(tokenizer->vocab_size(), 268);
  EXPECT_EQ(tokenizer->Piece(266), "");
  EXPECT_THAT(*tokenizer->Encode("<last>", TextPosition::kContinuation), ElementsAre(267));
}

TEST(GgufTokenizerTest, NamesWhatIsMissingOrDoesNotFitTogether) {
  ExpectInvalid({.model = "llama"}, "tokenizer.ggml.tokens: the vocabulary is empty");
  GgufVocabulary vocabulary = TinySentencePiece();
  vocabulary.scores.pop_back();
  ExpectInvalid(vocabulary, "tokenizer.ggml.scores: ");
  vocabulary.scores = {};
  ExpectInvalid(vocabulary, "tokenizer.ggml.scores: missing");
  vocabulary = TinySentencePiece();
  vocabulary.scores[7] = std::numeric_limits<float>::quiet_NaN();
  ExpectInvalid(vocabulary, "the score of piece 7 is not finite");
  vocabulary = TinySentencePiece();
  vocabulary.types.push_back(1);
  ExpectInvalid(vocabulary, "tokenizer.ggml.token_type: ");
  vocabulary = TinySentencePiece();
  vocabulary.bos_id = -1;
  ExpectInvalid(vocabulary, "tokenizer.ggml.bos_token_id: -1 is not the id");
  vocabulary = TinySentencePiece();
  vocabulary.tokens.push_back("");
  vocabulary.scores.push_back(0);
  vocabulary.types.push_back(static_cast<int32_t>(GgufTokenType::kControl));
  vocabulary.eos_id = static_cast<int32_t>(vocabulary.tokens.size()) - 1;
  ExpectInvalid(vocabulary, "tokenizer.ggml.eos_token_id: token ");
  vocabulary = TinySentencePiece();
  vocabulary.tokens[265] = vocabulary.tokens[266];
  ExpectInvalid(vocabulary, "appears twice");
  vocabulary = TinySentencePiece();
  vocabulary.tokens[9] = "\xFF";
  ExpectInvalid(vocabulary, "token 9 \"\\377\" is not valid UTF-8");
  vocabulary = TinySentencePiece();
  vocabulary.tokens[270] = std::string(5000, 'x');
  ExpectInvalid(vocabulary, "piece 270 of 5000 bytes");
  SetType(vocabulary, 270, GgufTokenType::kControl);
  ExpectInvalid(vocabulary, "token 270 is looked for in texts");
}

TEST(GgufTokenizerTest, NamesTheMergeThatIsMalformed) {
  GgufVocabulary vocabulary = TinyByteLevel();
  vocabulary.merges[3] = "hello";
  ExpectInvalid(vocabulary, "tokenizer.ggml.merges: merge 3 \"hello\" is not two pieces");
  vocabulary.merges[3] = "he nothing";
  ExpectInvalid(vocabulary, "merge 3 refers to \"nothing\"");
  vocabulary.merges = {};
  ExpectInvalid(vocabulary, "tokenizer.ggml.merges: missing");
}

TEST(GgufTokenizerTest, RefusesUnknownModelsAndPreTokenizersByName) {
  GgufVocabulary vocabulary = TinyByteLevel();
  vocabulary.pre = "kimi-k2";
  ExpectRefused(vocabulary, absl::StatusCode::kUnimplemented, "\"kimi-k2\"");
  vocabulary.model = "rwkv";
  ExpectRefused(vocabulary, absl::StatusCode::kUnimplemented, "\"rwkv\"");
}

struct Published {
  const char* folder;
  const char* pre;
};

class GgufVectorsTest : public testing::TestWithParam<Published> {};

// Left out are the texts that hold special tokens: how implementations find these in a text differs, and a
// GGUF file says less about it than a tokenizer.json.
TEST_P(GgufVectorsTest, IdsEqualThoseOfOtherImplementations) {
  const std::string folder = kData + "/tokenizers/" + GetParam().folder;
  SKIP_WITHOUT(folder);
  const auto tokenizer = Make(GgufVocabularyOf(ReadJson(folder + "/tokenizer.json"), GetParam().pre));
  const json vectors = ReadJson(folder + "/vectors.json");
  ASSERT_GT(vectors.size(), 900u);
  size_t left_out = 0;
  for (const json& vector : vectors) {
    if (!vector["second_implementation_agrees"]) {
      ++left_out;
      continue;
    }
    const std::string text = vector["text"];
    EXPECT_EQ(EncodeBare(*tokenizer, text), vector["ids"].get<std::vector<TokenId>>()) << text;
  }
  EXPECT_LE(left_out, 2u);
}

INSTANTIATE_TEST_SUITE_P(Published, GgufVectorsTest,
                         testing::Values(Published{"gpt2", "gpt-2"}, Published{"qwen2", "qwen2"},
                                         Published{"llama2", "default"}, Published{"phi-3-mini", "default"}),
                         [](const auto& info) {
                           std::string name = info.param.folder;
                           std::erase(name, '-');
                           return name;
                         });

std::vector<std::string> SplitAt(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end = text.find(separator); end != std::string::npos; end = text.find(separator, begin)) {
    parts.push_back(text.substr(begin, end - begin));
    begin = end + separator.size();
  }
  return parts;
}

// Vocabularies of families that ship no tokenizer.json above, each with texts and the ids of its own
// tokenizer.
TEST(GgufVocabularyFileTest, IdsEqualThoseBesideTheFilesOfLlamaCpp) {
  const char* sources = std::getenv("MEMGATE_LLAMA_CPP_SOURCES");
  if (sources == nullptr) GTEST_SKIP() << "MEMGATE_LLAMA_CPP_SOURCES does not name llama.cpp's folder";
  for (const char* name : {"llama-bpe", "deepseek-llm", "deepseek-coder", "falcon", "starcoder", "refact",
                           "command-r", "mpt", "gpt-2", "qwen2", "phi-3", "llama-spm"}) {
    SCOPED_TRACE(name);
    const std::string path = std::string(sources) + "/models/ggml-vocab-" + name + ".gguf";
    const auto tokenizer = Make(ReadGgufVocabulary(path));
    const std::vector<std::string> texts = SplitAt(ReadText(path + ".inp"), "\n__ggml_vocab_test__\n");
    const std::vector<std::string> lines = SplitAt(ReadText(path + ".out"), "\n");
    ASSERT_GE(texts.size(), 40u);
    ASSERT_GE(lines.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      std::istringstream line(lines[i]);
      const std::vector<TokenId> expected{std::istream_iterator<TokenId>(line), {}};
      EXPECT_EQ(EncodeBare(*tokenizer, texts[i]), expected) << texts[i];
    }
  }
}

TEST(GgufStoriesTest, IdsOfTheFilesOwnVocabularyEqualThoseOfOtherImplementations) {
  for (const char* name : {"stories260K.f16.gguf", "stories260K-wide64.Q4_K_M.gguf"}) {
    const std::string path = kData + "/models/gguf/" + name;
    SKIP_WITHOUT(path);
    const auto tokenizer = Make(ReadGgufVocabulary(path));
    ExpectIdsOfStories(*tokenizer);
  }
}

}  // namespace
}  // namespace memgate
