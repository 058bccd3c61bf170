#include "engine/text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "engine/base/strings.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Matches(std::string_view pattern, std::string_view text) {
  const absl::StatusOr<Regex> regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<std::string> matches;
  MatchWork work(text.size());
  const absl::Status status = regex->ForEachMatch(
      text, work, [&](size_t begin, size_t end) { matches.emplace_back(text.substr(begin, end - begin)); });
  EXPECT_TRUE(status.ok()) << status;
  return matches;
}

TEST(RegexTest, FindsMatchesFromLeftToRight) {
  EXPECT_THAT(Matches("a+|b", "aabxab"), ElementsAre("aa", "b", "a", "b"));
  EXPECT_THAT(Matches("x*", "éxxa"), ElementsAre("xx")) << "empty matches are left out";
}

TEST(RegexTest, NamesThePlaceOfAPatternError) {
  const absl::Status status = Regex::Compile("a(b").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("at byte 3"));
}

TEST(RegexTest, GivesUpOnAPatternThatBacktracksWithoutEnd) {
  const absl::StatusOr<Regex> regex = Regex::Compile("(a+)+$");
  ASSERT_TRUE(regex.ok());
  const std::string text = std::string(64, 'a') + "b";
  MatchWork work(text.size());
  EXPECT_EQ(regex->ForEachMatch(text, work, [](size_t, size_t) {}).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(RegexTest, GivesUpWhenTheTimeOfATextIsUsedUp) {
  for (const char* pattern : {"a", "b"}) {
    const absl::StatusOr<Regex> regex = Regex::Compile(pattern);
    ASSERT_TRUE(regex.ok());
    const std::string text(1'000, 'a');
    MatchWork none(std::chrono::nanoseconds(0));
    const absl::Status status = regex->ForEachMatch(text, none, [](size_t, size_t) {});
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << pattern;
    MatchWork enough(text.size());
    EXPECT_TRUE(regex->ForEachMatch(text, enough, [](size_t, size_t) {}).ok()) << pattern;
  }
}

TEST(RegexTest, FindsMatchesHoweverFarApartTheyAre) {
  std::string text;
  std::vector<std::string> expected;
  for (size_t gap = 0; gap < 130; ++gap) {
    for (size_t i = 0; i < gap; ++i) text += gap % 2 == 0 ? "é" : "你";
    expected.push_back(Concat("x", gap));
    text += expected.back();
  }
  EXPECT_EQ(Matches(R"(x\d+)", text), expected);
  EXPECT_EQ(Matches(R"((?<=\D)x\d+|^x0)", text), expected);
}

TEST(RegexTest, SpacesAndWordsAreThoseOfUnicode) {
  EXPECT_THAT(Matches(R"(\s)", "\t\xC2\x85\xE2\x80\xA8\xE3\x80\x80").size(), 4u);
  EXPECT_THAT(Matches(R"(\s)", "\xE1\xA0\x8E\xE2\x80\x8B"), ElementsAre()) << "U+180E, U+200B";
  EXPECT_THAT(Matches(R"([\s\S])", "\xE1\xA0\x8E a").size(), 3u);
  EXPECT_THAT(Matches(R"(\w+)", "e\xCC\x81t\xC3\xA9_1²"), ElementsAre("e\xCC\x81t\xC3\xA9_1²"));
  EXPECT_THAT(Matches(R"([\w\W]+)", "a²\xCC\x81 ").size(), 1u);
  EXPECT_THAT(Matches(R"([^\s\w]+)", "a, b²!"), ElementsAre(",", "²!"));
  EXPECT_THAT(Matches(R"([\s-]+)", "a - b"), ElementsAre(" - "));
}

TEST(RegexTest, ReadsHexDigitsAndLineAnchorsAsOnigurumaDoes) {
  EXPECT_THAT(Matches(R"(\h+)", "xBEEFy"), ElementsAre("BEEF"));
  EXPECT_THAT(Matches(R"(\H+)", "xBEEFy"), ElementsAre("x", "y"));
  EXPECT_THAT(Matches(R"([\H]+)", "xBE/Fy"), ElementsAre("x", "/", "y"));
  EXPECT_THAT(Matches(R"(^\w+$)", "one\ntwo"), ElementsAre("one", "two"));
}

TEST(RegexTest, JoinsClassesWithinClasses) {
  EXPECT_THAT(Matches("[^(\\s|[.,])]+", "a(b, c|d.e"), ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_THAT(Matches("[[:upper:][0-2]]+", "aB1c3D"), ElementsAre("B1", "D"));
  EXPECT_THAT(Matches("[]a]+", "b]a"), ElementsAre("]a"));
  EXPECT_THAT(Matches(R"([\[\]]+)", "a[]"), ElementsAre("[]"));
}

TEST(RegexTest, ClassesHoldNegatedClassesAndIntersections) {
  EXPECT_THAT(Matches("[a[^b]]+", "abc\nb"), ElementsAre("a", "c\n"));
  EXPECT_THAT(Matches("[^a[^bc]]+", "abcbx"), ElementsAre("bcb"));
  EXPECT_THAT(Matches("[a-z&&[^b-d]]+", "abcdeF"), ElementsAre("a", "e"));
  EXPECT_THAT(Matches("[a-f&&c-z&&[^e]]+", "abcdef"), ElementsAre("cd", "f"));
  EXPECT_THAT(Matches("[^a-z&&[^b]]+", "abC"), ElementsAre("bC"));
  EXPECT_THAT(Matches(R"([\p{L}&&[^\p{Han}]]+)", "ab你é"), ElementsAre("ab", "é"));
  EXPECT_THAT(Matches("[[a-c]-z]+", "a-zbd"), ElementsAre("a-zb"));
  EXPECT_THAT(Matches("[[^a-z]^a]+|[.,.]+", "^a.b,"), ElementsAre("^a.", ","));
}

TEST(RegexTest, NamedClassesHaveTheirCharactersOfUnicode) {
  EXPECT_THAT(Matches("[[:alpha:]]+", "aा²1"), ElementsAre("aा"));
  EXPECT_THAT(Matches("[[:^alpha:]]+", "aा²1"), ElementsAre("²1"));
  EXPECT_THAT(Matches("[[:alnum:]]+", "e²1"), ElementsAre("e", "1"));
  EXPECT_THAT(Matches("[[:punct:]]", "{|!"), ElementsAre("{", "!"));
  EXPECT_THAT(Matches("[[:space:][:word:]]+", "a b\xE1\xA0\x8E"), ElementsAre("a b"));
  EXPECT_THAT(Matches("[[:xdigit:]]+", "xBEEFy"), ElementsAre("BEEF"));
}

TEST(RegexTest, OtherThanWordCharactersLeaveOutMarksAndConnectors) {
  EXPECT_THAT(Matches(R"([\W]+)", "e\xCC\x81‿! ²"), ElementsAre("! ²"));
  EXPECT_THAT(Matches(R"([^\W\d_]+)", "ab1_é²"), ElementsAre("ab", "é"));
  EXPECT_THAT(Matches(R"([\Wx]+)", "a!x-b"), ElementsAre("!x-"));
  EXPECT_THAT(Matches(R"(\be\w*)", "e\xCC\x81t net e"), ElementsAre("e\xCC\x81t", "e"));
  EXPECT_THAT(Matches(R"(e\B)", "e\xCC\x81 e"), ElementsAre("e"));
}

TEST(RegexTest, ReadsEscapesCountsAndFlagsAsOnigurumaDoes) {
  EXPECT_THAT(Matches(R"([\u4e00-\u9fff]+|\u0041)", "a你好A"), ElementsAre("你好", "A"));
  EXPECT_THAT(Matches(R"(\v|[\v])", "a\x0B\n"), ElementsAre("\x0B"));
  EXPECT_THAT(Matches(R"(\d{1,3}+)", "12345"), ElementsAre("12345"))
      << "a plus sign repeats, it is not possessive";
  EXPECT_THAT(Matches(R"((?:ab){2}+c|\p{L}{1,2}+5)", "ababababc ab5"), ElementsAre("ababababc", "ab5"));
  EXPECT_THAT(Matches("a{,2}b", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(Matches("(?#a comment [)a{2}?b", "bab"), ElementsAre("b", "b"));
  EXPECT_THAT(Matches("(?m:a.b)|(?m)c.d", "a\nb c\nd"), ElementsAre("a\nb", "c\nd"));
  EXPECT_THAT(Matches("a.b", "a\nb a-b"), ElementsAre("a-b"));
  EXPECT_THAT(Matches(R"([\S-]+)", "a-b c"), ElementsAre("a-b", "c"));
}

TEST(RegexTest, NamesClassesWithoutEndOrNestedTooDeep) {
  for (const std::string& pattern : {std::string("[a"), std::string("[]"), std::string(100, '[')}) {
    const absl::Status status = Regex::Compile(pattern).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pattern;
    EXPECT_THAT(std::string(status.message()), HasSubstr("class"));
  }
}

}  // namespace
}  // namespace memgate
