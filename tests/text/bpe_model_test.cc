#include "engine/text/bpe_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ModelSpec CharacterSpec(std::vector<std::string> pieces,
                        std::vector<std::pair<std::string, std::string>> merges) {
  ModelSpec spec;
  spec.alphabet = Alphabet::kCharacters;
  for (size_t i = 0; i < pieces.size(); ++i) spec.vocab.emplace_back(pieces[i], static_cast<TokenId>(i));
  spec.merges = std::move(merges);
  return spec;
}

std::vector<TokenId> Encode(const BpeModel& model, std::string_view word) {
  std::vector<TokenId> ids;
  const absl::Status status = model.Encode(word, ids);
  EXPECT_TRUE(status.ok()) << status;
  return ids;
}

TEST(BpeModelTest, AppliesTheBestRankedMergeFirst) {
  const auto model = *BpeModel::Create(CharacterSpec({"a", "b", "c", "bc", "ab"}, {{"b", "c"}, {"a", "b"}}));
  EXPECT_THAT(Encode(*model, "abc"), ElementsAre(0, 3));
}

TEST(BpeModelTest, BreaksTiesFromTheLeft) {
  const auto model = *BpeModel::Create(CharacterSpec({"a", "aa"}, {{"a", "a"}}));
  EXPECT_THAT(Encode(*model, "aaaaa"), ElementsAre(1, 1, 0));
}

TEST(BpeModelTest, DoesNotReachAPieceThatNoMergeLeadsTo) {
  const auto model = *BpeModel::Create(CharacterSpec({"a", "b", "ab"}, {}));
  EXPECT_THAT(Encode(*model, "ab"), ElementsAre(0, 1));
  EXPECT_THAT(Encode(*model, "ab"), ElementsAre(0, 1)) << "a second time, from the memo";
}

TEST(BpeModelTest, TakesWholePiecesIfMergesAreIgnored) {
  ModelSpec spec = CharacterSpec({"a", "b", "ab"}, {});
  spec.ignore_merges = true;
  EXPECT_THAT(Encode(**BpeModel::Create(spec), "ab"), ElementsAre(2));
}

TEST(BpeModelTest, NeverSpellsASpecialTokenFromText) {
  ModelSpec spec = CharacterSpec({"a", "b", "ab"}, {{"a", "b"}});
  spec.not_text = {2};
  EXPECT_THAT(Encode(**BpeModel::Create(spec), "ab"), ElementsAre(0, 1));
  spec.ignore_merges = true;
  EXPECT_THAT(Encode(**BpeModel::Create(spec), "ab"), ElementsAre(0, 1));
}

TEST(BpeModelTest, FusesRunsOfUnknownCharactersOnlyIfAsked) {
  ModelSpec spec = CharacterSpec({"<unk>", "a"}, {});
  spec.unk_token = "<unk>";
  EXPECT_THAT(Encode(**BpeModel::Create(spec), "xya"), ElementsAre(0, 0, 1));
  spec.fuse_unk = true;
  EXPECT_THAT(Encode(**BpeModel::Create(spec), "xyaz"), ElementsAre(0, 1, 0));
}

TEST(BpeModelTest, RefusesToDropACharacterWithoutToken) {
  const auto model = *BpeModel::Create(CharacterSpec({"a"}, {}));
  std::vector<TokenId> ids;
  const absl::Status status = model->Encode("ab", ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"b\""));
}

TEST(BpeModelTest, NamesTheMergeThatRefersToAnUnknownPiece) {
  const absl::Status status =
      BpeModel::Create(CharacterSpec({"a", "b", "ab"}, {{"a", "b"}, {"ab", "x"}})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("merge 1 refers to \"x\""));
}

TEST(BpeModelTest, MergesWhatIsAPieceIfThereAreScores) {
  ModelSpec spec = CharacterSpec({"a", "b", "c", "ab", "bc", "abc", "cc"}, {});
  spec.scores = {0, 0, 0, -2, -1, -3, -1};
  const auto model = *BpeModel::Create(spec);
  EXPECT_THAT(Encode(*model, "abc"), ElementsAre(5));
  EXPECT_THAT(Encode(*model, "bcc"), ElementsAre(4, 2)) << "of equal scores the left one first";
  spec.scores[3] = 0;
  EXPECT_THAT(Encode(**BpeModel::Create(spec), "abcc"), ElementsAre(3, 6));
  spec.not_text = {5};
  EXPECT_THAT(Encode(**BpeModel::Create(spec), "abc"), ElementsAre(3, 2));
}

TEST(BpeModelTest, RefusesPiecesThatMergeInTooManyWays) {
  ModelSpec spec = CharacterSpec({}, {});
  for (int length = 1; length <= 120; ++length) {
    spec.vocab.emplace_back(std::string(length, 'a'), static_cast<TokenId>(length));
    spec.scores.push_back(-length);
  }
  EXPECT_THAT(std::string(BpeModel::Create(spec).status().message()),
              HasSubstr("merged in more than 6016 ways"));
}

// What BPE means, word for word: find the best pair, merge its leftmost occurrence, start over.
std::vector<std::string> MergeByDefinition(std::string_view word,
                                           const std::vector<std::pair<std::string, std::string>>& merges) {
  std::vector<std::string> symbols;
  for (const char c : word) symbols.emplace_back(1, c);
  for (size_t rank = 0; rank < merges.size();) {
    bool merged = false;
    for (size_t i = 0; i + 1 < symbols.size() && !merged; ++i) {
      if (symbols[i] != merges[rank].first || symbols[i + 1] != merges[rank].second) continue;
      symbols[i] += symbols[i + 1];
      symbols.erase(symbols.begin() + i + 1);
      merged = true;
    }
    rank = merged ? 0 : rank + 1;
  }
  return symbols;
}

TEST(BpeModelTest, AgreesWithTheDefinitionOnShortAndLongWords) {
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> pieces = {"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> merges;
    while (merges.size() < 12) {
      const std::string left = pieces[random() % pieces.size()];
      const std::string right = pieces[random() % pieces.size()];
      if (std::find(pieces.begin(), pieces.end(), left + right) != pieces.end()) continue;
      merges.emplace_back(left, right);
      pieces.push_back(left + right);
    }
    const auto model = *BpeModel::Create(CharacterSpec(pieces, merges));
    for (const size_t size : {1, 2, 3, 17, 31, 32, 33, 34, 100, 257}) {
      std::string word;
      for (size_t i = 0; i < size; ++i) word.push_back(static_cast<char>('a' + random() % 3));
      std::vector<std::string> got;
      for (const TokenId id : Encode(*model, word)) got.push_back(pieces[id]);
      EXPECT_EQ(got, MergeByDefinition(word, merges)) << word;
    }
  }
}

TEST(BpeModelTest, EncodesAMegabyteWithoutSpacesInLinearithmicTime) {
  const auto model = *BpeModel::Create(
      CharacterSpec({"a", "aa", "aaaa", "aaaaaaaa"}, {{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}));
  // A quadratic algorithm would need about 10^12 steps here.
  EXPECT_EQ(Encode(*model, std::string(1 << 20, 'a')).size(), (1u << 20) / 8);
}

TEST(BpeModelTest, KnowsWhetherWordsAreIndependent) {
  EXPECT_TRUE((*BpeModel::Create(CharacterSpec({"▁", "a", "▁a"}, {{"▁", "a"}})))->words_are_independent());
  EXPECT_FALSE((*BpeModel::Create(CharacterSpec({"▁", "a", "a▁"}, {{"a", "▁"}})))->words_are_independent());
}

}  // namespace
}  // namespace memgate
