#include "engine/sampling/stop_matcher.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace memgate {
namespace {

struct Answer {
  std::string text;
  std::optional<std::string> matched;
};

// Feeds `chunks` until a match, then flushes.
Answer RunAll(std::vector<std::string> stops, const std::vector<std::string>& chunks) {
  StopMatcher matcher(std::move(stops));
  Answer answer;
  for (const std::string& chunk : chunks) {
    StopMatcher::Result result = matcher.Push(chunk);
    answer.text += result.text;
    if (result.matched.has_value()) answer.matched = result.matched;
  }
  StopMatcher::Result rest = matcher.Flush();
  answer.text += rest.text;
  if (rest.matched.has_value()) answer.matched = rest.matched;
  return answer;
}

TEST(StopMatcherTest, PassesTextThroughWithoutStops) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Push("hello").text, "hello");
  EXPECT_EQ(matcher.Push("").text, "");
  EXPECT_EQ(matcher.Flush().text, "");
}

TEST(StopMatcherTest, IgnoresEmptyStops) {
  const Answer answer = RunAll({"", "x"}, {"abc"});
  EXPECT_EQ(answer.text, "abc");
  EXPECT_EQ(answer.matched, std::nullopt);
}

TEST(StopMatcherTest, EndsBeforeTheStopString) {
  const Answer answer = RunAll({"STOP"}, {"one STOP two"});
  EXPECT_EQ(answer.text, "one ");
  EXPECT_EQ(answer.matched, "STOP");
}

TEST(StopMatcherTest, FindsAStopAcrossPushes) {
  StopMatcher matcher({"</s>"});
  EXPECT_EQ(matcher.Push("a<").text, "a");
  EXPECT_EQ(matcher.Push("/").text, "");
  EXPECT_EQ(matcher.Push("s").text, "");
  const StopMatcher::Result last = matcher.Push(">b");
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.matched, "</s>");
}

TEST(StopMatcherTest, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"\nUser:"});
  EXPECT_EQ(matcher.Push("fine\nUs").text, "fine");
  EXPECT_EQ(matcher.Push("ual\n").text, "\nUsual");
  EXPECT_EQ(matcher.Push("x").text, "\nx");
}

TEST(StopMatcherTest, FlushShowsTheHeldRest) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.Push("the EN").text, "the ");
  const StopMatcher::Result rest = matcher.Flush();
  EXPECT_EQ(rest.text, "EN");
  EXPECT_EQ(rest.matched, std::nullopt);
}

TEST(StopMatcherTest, StopThatBeginsFirstWins) {
  const Answer answer = RunAll({"cd", "bcx", "ab"}, {"xabcd"});
  EXPECT_EQ(answer.text, "x");
  EXPECT_EQ(answer.matched, "ab");
}

TEST(StopMatcherTest, LongestCompleteStopAtOnePlaceWins) {
  const Answer answer = RunAll({"ab", "abc", "abcd"}, {"xabc!"});
  EXPECT_EQ(answer.text, "x");
  EXPECT_EQ(answer.matched, "abc");
}

TEST(StopMatcherTest, CompleteStopDoesNotWaitForALongerOne) {
  StopMatcher matcher({"ab", "abc"});
  const StopMatcher::Result result = matcher.Push("xab");
  EXPECT_EQ(result.text, "x");
  EXPECT_EQ(result.matched, "ab");
}

TEST(StopMatcherTest, LaterMatchWaitsForAnEarlierOne) {
  StopMatcher matcher({"abcd", "bc"});
  EXPECT_EQ(matcher.Push("xabc").matched, std::nullopt);
  EXPECT_EQ(matcher.Push("d").matched, "abcd");

  StopMatcher other({"abcd", "bc"});
  EXPECT_EQ(other.Push("xabc").text, "x");
  const StopMatcher::Result result = other.Push("e");
  EXPECT_EQ(result.text, "a");
  EXPECT_EQ(result.matched, "bc");
}

TEST(StopMatcherTest, FlushReportsAMatchThatWasWaiting) {
  StopMatcher matcher({"abcd", "bc"});
  EXPECT_EQ(matcher.Push("xabc").text, "x");
  const StopMatcher::Result rest = matcher.Flush();
  EXPECT_EQ(rest.text, "a");
  EXPECT_EQ(rest.matched, "bc");
}

TEST(StopMatcherTest, RecoversFromAPartialMatchThatOverlapsItself) {
  const Answer answer = RunAll({"aab"}, {"a", "a", "a", "a", "b", "c"});
  EXPECT_EQ(answer.text, "aa");
  EXPECT_EQ(answer.matched, "aab");
}

TEST(StopMatcherTest, StaysSilentAfterAMatch) {
  StopMatcher matcher({"."});
  EXPECT_EQ(matcher.Push("a.b").matched, ".");
  const StopMatcher::Result later = matcher.Push("c.d");
  EXPECT_EQ(later.text, "");
  EXPECT_EQ(later.matched, std::nullopt);
  EXPECT_EQ(matcher.Flush().text, "");
}

TEST(StopMatcherTest, NeverCutsACharacter) {
  StopMatcher matcher({"é!"});
  EXPECT_EQ(matcher.Push("aé").text, "a");
  EXPECT_EQ(matcher.Push("è").text, "éè");  // shares its first byte with é
}

// What the header says, over the whole text at once.
Answer PlainSearch(const std::vector<std::string>& stops, std::string_view text) {
  for (size_t begin = 0; begin < text.size(); ++begin) {
    for (const std::string& stop : stops) {
      if (text.substr(begin).starts_with(stop)) return {std::string(text.substr(0, begin)), stop};
    }
  }
  return {std::string(text), std::nullopt};
}

TEST(StopMatcherTest, AnyCutOfTheTextShowsTheSameAnswer) {
  std::mt19937 random(7);
  // No stop begins another, so the matched string does not depend on the cut either.
  const std::vector<std::string> stops = {"abab", "bba", "caab", "cb", "aacb"};
  int matches = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    const int length = static_cast<int>(random() % 24);
    for (int i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 3);
    std::vector<std::string> chunks;
    for (size_t at = 0; at < text.size();) {
      const size_t bytes = 1 + random() % 5;
      chunks.push_back(text.substr(at, bytes));
      at += bytes;
    }
    const Answer expected = PlainSearch(stops, text);
    const Answer found = RunAll(stops, chunks);
    ASSERT_EQ(found.text, expected.text) << text;
    ASSERT_EQ(found.matched, expected.matched) << text;
    matches += expected.matched.has_value();
  }
  EXPECT_GT(matches, 500);
  EXPECT_LT(matches, 1990);
}

}  // namespace
}  // namespace memgate
