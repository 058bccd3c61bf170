// tokenizer.model files against the SentencePiece library: models trained here, of each type and with the
// options that change what is made of a text, and published ones.
#include "tests/text/sentencepiece_reference.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/text/token_model.h"
#include "tests/text/sentencepiece_files.h"
#include "tests/text/shared_data.h"

namespace memgate {
namespace {

using Options = std::unordered_map<std::string, std::string>;

std::unique_ptr<Tokenizer> Open(const std::string& model) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromSentencePiece(model, "");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

class TextMaker {
 public:
  explicit TextMaker(uint32_t seed) : random_(seed) {
    for (int i = 0; i < 300; ++i) words_.push_back(Word());
  }

  std::string Sentence(size_t words) {
    std::string sentence;
    for (size_t i = 0; i < words; ++i) {
      if (i > 0) sentence += " ";
      // Small numbers more often than large ones, so that some words are frequent.
      sentence += words_[random_() % (1 + random_() % words_.size())];
      if (random_() % 8 == 0) sentence += ",";
    }
    return sentence + ".";
  }

  // A sentence with things in it that a model may not know or that a normaliser changes.
  std::string OddSentence() {
    constexpr const char* kParts[] = {
        "  ",   "   ",  "\t",           "\n",     "é",     "e\xCC\x81", "Ａｂｃ", "①", "ﬁ",
        "你好", "🙂", "\xC2\xA0",     "<sep>",  "<s>",   "</s>",      "<unk>",  "▁", "\x01",
        "½",    "㌔",   "\xE2\x80\x8B", "<0x41>", "12345", "A",         "ǅ",      "ｶﾞ"};
    std::string text;
    for (size_t i = 0; i < 6; ++i) {
      text += random_() % 2 == 0 ? kParts[random_() % std::size(kParts)] : Sentence(1 + random_() % 3);
      if (random_() % 2 == 0) text += " ";
    }
    return text;
  }

 private:
  std::string Word() {
    constexpr const char* kSyllables[] = {"ba",  "co", "di", "ek",  "fu", "gan",
                                          "hel", "in", "jo", "kra", "ä",  "ж"};
    std::string word;
    for (size_t i = 0; i < 1 + random_() % 4; ++i) word += kSyllables[random_() % std::size(kSyllables)];
    return word;
  }

  std::mt19937 random_;
  std::vector<std::string> words_;
};

struct Case {
  const char* name;
  Options options;
};

class SentencePieceReferenceTest : public testing::TestWithParam<Case> {};

TEST_P(SentencePieceReferenceTest, GivesTheIdsAndTextsOfTheLibrary) {
  TextMaker maker(5);
  std::vector<std::string> sentences;
  for (int i = 0; i < 1500; ++i) sentences.push_back(maker.Sentence(3 + i % 9));
  Options options = {
      {"vocab_size", "400"}, {"hard_vocab_limit", "false"}, {"minloglevel", "2"}, {"num_threads", "1"}};
  for (const auto& [key, value] : GetParam().options) options[key] = value;
  const std::string model = TrainSentencePiece(options, sentences);
  ASSERT_FALSE(model.empty());
  const SentencePieceReference reference(model);
  ASSERT_TRUE(reference.ok());
  const std::unique_ptr<Tokenizer> tokenizer = Open(model);
  ASSERT_NE(tokenizer, nullptr);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = i % 4 == 0 ? maker.Sentence(i % 60) : maker.OddSentence();
    const std::vector<int> expected = reference.Encode(text);
    const std::vector<TokenId> ids = EncodeBare(*tokenizer, text, SpecialTokens::kPlainText);
    ASSERT_EQ(ids, expected) << text;
    // The library shows an unknown token as a mark; here it is nothing.
    const bool unknown = std::find(ids.begin(), ids.end(), 0) != ids.end();
    if (!unknown) {
      EXPECT_EQ(Decode(*tokenizer, ids, TextPosition::kStart), reference.Decode(expected)) << text;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Trained, SentencePieceReferenceTest,
    testing::Values(
        Case{"Bpe", {{"model_type", "bpe"}}},
        Case{"BpeLikeLlama",
             {{"model_type", "bpe"},
              {"byte_fallback", "true"},
              {"normalization_rule_name", "identity"},
              {"remove_extra_whitespaces", "false"},
              {"split_digits", "true"}}},
        Case{"BpeLikeGemma",
             {{"model_type", "bpe"},
              {"byte_fallback", "true"},
              {"normalization_rule_name", "identity"},
              {"remove_extra_whitespaces", "false"},
              {"add_dummy_prefix", "false"},
              {"user_defined_symbols", "<sep>,▁▁,▁▁▁"}}},
        Case{"BpeAcrossWords", {{"model_type", "bpe"}, {"split_by_whitespace", "false"}}},
        Case{"Unigram", {{"model_type", "unigram"}}},
        Case{"UnigramWithBytes",
             {{"model_type", "unigram"},
              {"byte_fallback", "true"},
              {"normalization_rule_name", "identity"},
              {"remove_extra_whitespaces", "false"}}},
        Case{"UnigramCaseFolding", {{"model_type", "unigram"}, {"normalization_rule_name", "nmt_nfkc_cf"}}},
        Case{"UnigramWithSymbols", {{"model_type", "unigram"}, {"user_defined_symbols", "<sep>,①"}}},
        Case{"UnigramAcrossWords", {{"model_type", "unigram"}, {"split_by_whitespace", "false"}}}),
    [](const auto& info) { return info.param.name; });

// Vocabularies as no trainer makes them: characters that are no piece, unused pieces, pieces that merge in
// several ways, equal scores.
std::string MadeUpModel(std::mt19937& random, int kind, bool byte_fallback) {
  constexpr int kUnknown = 2, kUnused = 5, kByte = 6;
  std::string file = PieceField("<unk>", 0, kUnknown);
  for (int byte = 0; byte_fallback && byte < 256; ++byte) {
    file += PieceField(ByteFallbackPiece(byte), 0, kByte);
  }
  const std::vector<std::string> characters = {"a", "b", "c", "é", "▁"};
  std::set<std::string> pieces;
  for (const std::string& character : characters) {
    if (random() % 3 > 0) pieces.insert(character);
  }
  while (pieces.size() < 25) {
    std::string piece;
    for (size_t i = 2 + random() % 4; i > 0; --i) piece += characters[random() % characters.size()];
    pieces.insert(piece);
  }
  for (const std::string& piece : pieces) {
    const bool unused = piece.size() > 2 && random() % 4 == 0;
    const float score = -1 - static_cast<float>(random() % 40) / 4;
    file += PieceField(piece, score, unused ? kUnused : 1);
  }
  file += BytesField(2, VarintField(3, kind) + VarintField(35, byte_fallback ? 1 : 0));
  return file + BytesField(3, VarintField(3, 1) + VarintField(4, 0));
}

TEST(MadeUpSentencePieceTest, GivesTheIdsOfTheLibrary) {
  constexpr const char* kParts[] = {"a", "b", "c", "é", " ", "x", "你"};
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const std::string model = MadeUpModel(random, /*kind=*/1 + round % 2, /*byte_fallback=*/round % 3 == 0);
    const SentencePieceReference reference(model);
    ASSERT_TRUE(reference.ok());
    const std::unique_ptr<Tokenizer> tokenizer = Open(model);
    ASSERT_NE(tokenizer, nullptr);
    for (int i = 0; i < 50; ++i) {
      std::string text;
      for (size_t parts = random() % 60; parts > 0; --parts) text += kParts[random() % std::size(kParts)];
      ASSERT_EQ(EncodeBare(*tokenizer, text, SpecialTokens::kPlainText), reference.Encode(text))
          << "round " << round << ": " << text;
    }
  }
}

TEST(PublishedSentencePieceTest, GivesTheIdsOfTheLibrary) {
  for (const char* path : {"/tokenizers/llama2/tokenizer.model", "/models/stories260K-hf/tokenizer.model"}) {
    SKIP_WITHOUT(kData + path);
    const std::string model = ReadText(kData + path);
    const SentencePieceReference reference(model);
    ASSERT_TRUE(reference.ok());
    const std::unique_ptr<Tokenizer> tokenizer = Open(model);
    ASSERT_NE(tokenizer, nullptr);
    TextMaker maker(6);
    for (int i = 0; i < 1000; ++i) {
      const std::string text = maker.OddSentence();
      ASSERT_EQ(EncodeBare(*tokenizer, text, SpecialTokens::kPlainText), reference.Encode(text)) << text;
    }
  }
}

}  // namespace
}  // namespace memgate
