#include "engine/text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Matches(std::string_view pattern, std::string_view text) {
  const absl::StatusOr<Regex> regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<std::string> matches;
  const absl::Status status = regex->ForEachMatch(
      text, [&](size_t begin, size_t end) { matches.emplace_back(text.substr(begin, end - begin)); });
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
  EXPECT_EQ(regex->ForEachMatch(std::string(64, 'a') + "b", [](size_t, size_t) {}).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(RegexTest, SpacesAndWordsAreThoseOfUnicode) {
  EXPECT_THAT(Matches(R"(\s)", "\t\xC2\x85\xE2\x80\xA8\xE3\x80\x80").size(), 4u);
  EXPECT_THAT(Matches(R"(\s)", "\xE1\xA0\x8E\xE2\x80\x8B"), ElementsAre()) << "U+180E, U+200B";
  EXPECT_THAT(Matches(R"([\s\S])", "\xE1\xA0\x8E a").size(), 3u);
  EXPECT_THAT(Matches(R"(\w+)", "e\xCC\x81t\xC3\xA9_1²"), ElementsAre("e\xCC\x81t\xC3\xA9_1"));
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

TEST(RegexTest, NamesClassesThatItCannotTranslate) {
  for (const char* pattern : {"[a-z&&[^b]]", "[a[^b]]"}) {
    const absl::Status status = Regex::Compile(pattern).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << pattern;
    EXPECT_THAT(std::string(status.message()), HasSubstr("class"));
  }
}

TEST(RegexTest, EscapedTextMatchesItselfOnly) {
  const std::string text("a.b*[c]\\\0(é)", 14);
  EXPECT_THAT(Matches(EscapeRegex(text), text + "a_b" + text), ElementsAre(text, text));
}

}  // namespace
}  // namespace memgate
