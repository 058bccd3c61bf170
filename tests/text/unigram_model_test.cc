#include "engine/text/unigram_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <random>

#include "engine/text/unicode.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Ids in the order of the pieces; "<unk>" is the unknown token if it is there.
ModelSpec Spec(const std::vector<std::pair<std::string, double>>& pieces) {
  ModelSpec spec;
  spec.kind = ModelKind::kUnigram;
  spec.alphabet = Alphabet::kCharacters;
  spec.fuse_unk = true;
  for (const auto& [piece, score] : pieces) {
    const TokenId id = static_cast<TokenId>(spec.vocab.size());
    spec.vocab.emplace_back(piece, id);
    spec.scores.push_back(score);
    if (piece != "<unk>") continue;
    spec.unk_token = piece;
    spec.not_text.insert(id);
  }
  return spec;
}

std::vector<TokenId> Encode(const TokenModel& model, std::string_view word) {
  std::vector<TokenId> ids;
  const absl::Status status = model.Encode(word, ids);
  EXPECT_TRUE(status.ok()) << status;
  return ids;
}

std::unique_ptr<TokenModel> Make(const ModelSpec& spec) {
  absl::StatusOr<std::unique_ptr<TokenModel>> model = TokenModel::Create(spec);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

TEST(UnigramModelTest, TakesThePiecesWithTheLargestSum) {
  const auto model = Make(Spec({{"a", -1}, {"b", -1}, {"ab", -2.5}, {"abb", -2.9}}));
  EXPECT_THAT(Encode(*model, "ab"), ElementsAre(0, 1));
  EXPECT_THAT(Encode(*model, "abb"), ElementsAre(3));
  EXPECT_THAT(Encode(*model, "abb"), ElementsAre(3)) << "a second time, from the memo";
  EXPECT_THAT(Encode(*model, "abab"), ElementsAre(0, 1, 0, 1));
}

TEST(UnigramModelTest, OfEqualSumsTakesTheLongerLastPiece) {
  const auto model = Make(Spec({{"a", -1}, {"b", -1}, {"ab", -2}, {"c", -1}, {"bc", -2}}));
  EXPECT_THAT(Encode(*model, "ab"), ElementsAre(2));
  EXPECT_THAT(Encode(*model, "abc"), ElementsAre(0, 4));
}

TEST(UnigramModelTest, ARunOfUnknownCharactersIsOneUnknownToken) {
  const auto model = Make(Spec({{"<unk>", 0}, {"a", -1}}));
  EXPECT_THAT(Encode(*model, "xéya"), ElementsAre(0, 1));
  EXPECT_THAT(Encode(*model, "axaya"), ElementsAre(1, 0, 1, 0, 1));
}

TEST(UnigramModelTest, PrefersPiecesToUnknownCharacters) {
  // "ab" and an unknown "c", or "a" and "bc" at a lower score than any piece and an unknown one.
  const auto model = Make(Spec({{"<unk>", 0}, {"ab", -1}, {"a", -8}, {"bc", -8}}));
  EXPECT_THAT(Encode(*model, "abc"), ElementsAre(2, 3));
}

TEST(UnigramModelTest, SpellsUnknownCharactersInBytesIfAllAreThere) {
  std::vector<std::pair<std::string, double>> pieces = {
      {"<unk>", 0}, {"a", -1}, {"<0xC3>", 0}, {"<0xA9>", 0}};
  ModelSpec spec = Spec(pieces);
  spec.not_text.insert({2, 3});
  spec.byte_fallback = true;
  EXPECT_THAT(Encode(*Make(spec), "aé"), ElementsAre(1, 2, 3));
  EXPECT_THAT(Encode(*Make(spec), "aéx"), ElementsAre(1, 0)) << "the run has a byte without token";
  spec.byte_fallback = false;
  EXPECT_THAT(Encode(*Make(spec), "aé"), ElementsAre(1, 0));
}

TEST(UnigramModelTest, RefusesToDropACharacterWithoutToken) {
  std::vector<TokenId> ids;
  const absl::Status status = Make(Spec({{"a", -1}}))->Encode("ab", ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"b\""));
}

TEST(UnigramModelTest, NeverSpellsASpecialTokenFromText) {
  ModelSpec spec = Spec({{"a", -1}, {"b", -1}, {"ab", 0}});
  spec.not_text = {2};
  EXPECT_THAT(Encode(*Make(spec), "ab"), ElementsAre(0, 1));
}

TEST(UnigramModelTest, RefusesScoresAndPiecesThatCannotBe) {
  const auto message = [](const ModelSpec& spec) {
    const absl::Status status = TokenModel::Create(spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(Spec({{"a", std::numeric_limits<double>::infinity()}})),
              HasSubstr("piece 0 is not finite"));
  EXPECT_THAT(message(Spec({{"a", -1}, {"a", -2}})), HasSubstr("\"a\" appears twice"));
  EXPECT_THAT(message(Spec({{std::string(2000, 'a'), -1}})), HasSubstr("of 2000 bytes"));
  ModelSpec spec = Spec({{"a", -1}});
  spec.scores.clear();
  EXPECT_THAT(message(spec), HasSubstr("0 scores for 1 pieces"));
}

TEST(UnigramModelTest, KnowsWhetherWordsAreIndependent) {
  EXPECT_TRUE(Make(Spec({{"▁", -1}, {"▁a", -1}}))->words_are_independent());
  EXPECT_FALSE(Make(Spec({{"▁", -1}, {"a▁b", -1}}))->words_are_independent());
  EXPECT_FALSE(Make(Spec({{"▁a", -1}}))->words_are_independent()) << "the mark may be unknown";
}

// The score of the best way to cut `word`, by trying all of them.
double BestScore(std::string_view word, const std::map<std::string, double>& pieces, double unknown) {
  if (word.empty()) return 0;
  double best = -std::numeric_limits<double>::infinity();
  const std::string character(word.substr(0, 1));
  if (!pieces.contains(character)) best = unknown + BestScore(word.substr(1), pieces, unknown);
  for (const auto& [piece, score] : pieces) {
    if (word.starts_with(piece)) {
      best = std::max(best, score + BestScore(word.substr(piece.size()), pieces, unknown));
    }
  }
  return best;
}

TEST(UnigramModelTest, AgreesWithTryingAllWaysToCutRandomWords) {
  std::mt19937 random(4);
  for (int round = 0; round < 50; ++round) {
    std::map<std::string, double> pieces = {{"a", -3.0}};
    while (pieces.size() < 12) {
      std::string piece;
      for (size_t i = 0; i < 1 + random() % 4; ++i) piece.push_back(static_cast<char>('a' + random() % 3));
      pieces.emplace(piece, -static_cast<double>(random() % 1000) / 64);
    }
    double smallest = 0;
    for (const auto& [piece, score] : pieces) smallest = std::min(smallest, score);
    std::vector<std::pair<std::string, double>> list = {{"<unk>", 0}};
    list.insert(list.end(), pieces.begin(), pieces.end());
    const auto model = Make(Spec(list));
    for (int i = 0; i < 20; ++i) {
      std::string word;
      for (size_t n = 1 + random() % 10; n > 0; --n) word.push_back(static_cast<char>('a' + random() % 4));
      // "d" is unknown, and so are "b" and "c" where they are no piece: count what the ids leave of the word.
      double score = 0;
      size_t covered = 0;
      for (const TokenId id : Encode(*model, word)) {
        if (id == 0) continue;
        score += list[id].second;
        covered += list[id].first.size();
      }
      score += static_cast<double>(word.size() - covered) * (smallest - 10);
      EXPECT_NEAR(score, BestScore(word, pieces, smallest - 10), 1e-9) << word;
    }
  }
}

}  // namespace
}  // namespace memgate
