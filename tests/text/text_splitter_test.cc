#include "engine/text/text_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace memgate {
namespace {

using testing::ElementsAre;

std::vector<std::string_view> Split(const TextSplitter& splitter, std::string_view text) {
  std::vector<std::string_view> pieces;
  MatchWork work(text.size());
  const absl::Status status = splitter.Split(text, work, pieces);
  EXPECT_TRUE(status.ok()) << status;
  return pieces;
}

std::vector<std::string_view> SplitAtDashes(SplitBehavior behavior, std::string_view text,
                                            bool invert = false) {
  return Split(TextSplitter::ForLiteral("-", behavior, invert), text);
}

TEST(TextSplitterTest, SplitsLikeGpt2) {
  const TextSplitter splitter =
      *TextSplitter::Compile(std::string(kGpt2Pattern), SplitBehavior::kIsolated, false);
  EXPECT_THAT(Split(splitter, "don't  stop42!\n\n x"),
              ElementsAre("don", "'t", " ", " stop", "42", "!", "\n\n", " x"));
}

TEST(TextSplitterTest, PutsMatchesWhereTheBehaviorSays) {
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kIsolated, "a-b--c"), ElementsAre("a", "-", "b", "-", "-", "c"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kRemoved, "a-b--c"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kMergedWithPrevious, "a-b--c"), ElementsAre("a-", "b-", "-", "c"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kMergedWithNext, "a-b--c"), ElementsAre("a", "-b", "-", "-c"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kContiguous, "a-b--c"), ElementsAre("a", "-", "b", "--", "c"));
  EXPECT_THAT(SplitAtDashes(SplitBehavior::kRemoved, "a-b", true), ElementsAre("-"));
}

TEST(TextSplitterTest, FixedStringsStandForThemselves) {
  const TextSplitter dots = TextSplitter::ForLiteral("..", SplitBehavior::kIsolated, false);
  EXPECT_THAT(Split(dots, "a...b.."), ElementsAre("a", "..", ".b", ".."));
}

TEST(TextSplitterTest, NamesThePlaceOfAPatternError) {
  const absl::Status status = TextSplitter::Compile("a(b", SplitBehavior::kIsolated, false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("at byte 3"));
}

TEST(TextSplitterTest, EndsOnPatternsThatMatchNothing) {
  const TextSplitter splitter = *TextSplitter::Compile("x*", SplitBehavior::kIsolated, false);
  EXPECT_THAT(Split(splitter, "éxxa"), ElementsAre("é", "xx", "a"));
}

}  // namespace
}  // namespace memgate
