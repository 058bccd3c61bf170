#include "engine/structured/text_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "engine/structured/string_formats.h"
#include "tests/structured/matching.h"

namespace memgate {
namespace {

using testing::HasSubstr;

std::unique_ptr<OneLanguage> Compile(std::string_view pattern) {
  auto texts = std::make_unique<OneLanguage>();
  const auto expression = ParseTextPattern(pattern, texts->languages);
  EXPECT_TRUE(expression.ok()) << pattern << "\n" << expression.status();
  if (expression.ok()) texts->expression = *expression;
  return texts;
}

std::string ErrorOf(std::string_view pattern) {
  OneLanguage texts;
  const auto expression = ParseTextPattern(pattern, texts.languages);
  EXPECT_EQ(expression.status().code(), absl::StatusCode::kInvalidArgument) << pattern;
  return std::string(expression.status().message());
}

// Every text of at most `length` characters.
std::vector<std::string> AllTexts(std::string_view alphabet, int length) {
  std::vector<std::string> texts = {""};
  for (size_t begin = 0; length > 0; --length) {
    const size_t end = texts.size();
    for (; begin < end; ++begin) {
      for (const char c : alphabet) texts.push_back(texts[begin] + c);
    }
  }
  return texts;
}

TEST(TextPatternTest, FindsWhatEcmaRegularExpressionsFind) {
  const std::vector<std::string> texts = AllTexts("ab1 -.", 4);
  for (const char* pattern : {"",
                              "a",
                              "^a",
                              "a$",
                              "^a$",
                              "^$",
                              "ab|^1$",
                              "^(ab|1)*$",
                              "^a{2}$",
                              "^a{1,}b?$",
                              "^(a|b){2,3}$",
                              "^[ab]+$",
                              "^[^ab]*$",
                              "^\\d\\D\\w\\W$",
                              "\\s",
                              "^\\S+$",
                              "^.$",
                              "^a.b$",
                              "^[a-b1-]+$",
                              "^[\\d-]{2}$",
                              "^(?:a|(b|1))+?$",
                              "^a*?b*$",
                              "^(a*)*b$",
                              "^(a|ab)(b|)$",
                              "^a\\.b",
                              "^\\x61\\u0062$",
                              "^(a?){3}$",
                              "(a|b)(1|-)$",
                              "^(a{2}){2}$",
                              "^[.-]$",
                              "^(|a)b$",
                              "^1{0}a$"}) {
    const auto language = Compile(pattern);
    const std::regex reference(pattern, std::regex::ECMAScript);
    for (const std::string& text : texts) {
      ASSERT_EQ(language->Matches(text), std::regex_search(text, reference))
          << pattern << " in <" << text << ">";
    }
  }
}

TEST(TextPatternTest, CountsCharactersNotBytes) {
  const auto two = Compile("^..$");
  EXPECT_TRUE(two->Matches("\xC3\xA9\xF0\x9F\x99\x82"));
  EXPECT_FALSE(two->Matches("\xC3\xA9"));
  const auto umlauts = Compile("^[ä-ü\\u{1F642}]+$");
  EXPECT_TRUE(umlauts->Matches("öä🙂"));
  EXPECT_FALSE(umlauts->Matches("a"));
  EXPECT_FALSE(Compile("^.$")->Matches("\xE2\x80\xA8"));  // U+2028 ends lines
}

TEST(TextPatternTest, RefusesWhatIsOutsideTheSubset) {
  EXPECT_THAT(ErrorOf("(?!a)"), HasSubstr("only groups"));
  EXPECT_THAT(ErrorOf("(?<n>a)"), HasSubstr("only groups"));
  EXPECT_THAT(ErrorOf("(a)\\1"), HasSubstr("\\1 is not supported"));
  EXPECT_THAT(ErrorOf("\\p{L}"), HasSubstr("\\p is not supported"));
  EXPECT_THAT(ErrorOf("a^b"), HasSubstr("around the pattern"));
  EXPECT_THAT(ErrorOf("a$b"), HasSubstr("around the pattern"));
  EXPECT_THAT(ErrorOf("(a"), HasSubstr("ends too early"));
  EXPECT_THAT(ErrorOf("a)"), HasSubstr("unexpected ')'"));
  EXPECT_THAT(ErrorOf("*"), HasSubstr("unexpected '*'"));
  EXPECT_THAT(ErrorOf("a{2"), HasSubstr("ends too early"));
  EXPECT_THAT(ErrorOf("a{3,2}"), HasSubstr("at most fewer"));
  EXPECT_THAT(ErrorOf("a{100001}"), HasSubstr("at most 100000"));
  EXPECT_THAT(ErrorOf("[b-a]"), HasSubstr("range of characters"));
  EXPECT_THAT(ErrorOf("[\\d-z]"), HasSubstr("range of characters"));
  EXPECT_THAT(ErrorOf("[a"), HasSubstr("ends too early"));
  EXPECT_THAT(ErrorOf("\\"), HasSubstr("ends too early"));
  EXPECT_THAT(ErrorOf("\\ud83d"), HasSubstr("no Unicode character"));
  EXPECT_THAT(ErrorOf("\xFF"), HasSubstr("UTF-8"));
}

TEST(TextPatternTest, LengthAndNestingHaveTheirLimits) {
  const std::string longest(2000, 'a');
  EXPECT_TRUE(Compile(longest)->Matches("b" + longest));
  EXPECT_THAT(ErrorOf(longest + "a"), HasSubstr("2001 bytes, at most 2000"));
  const auto nested = [](int depth) { return std::string(depth, '(') + "a" + std::string(depth, ')'); };
  EXPECT_TRUE(Compile(nested(64))->Matches("a"));
  EXPECT_THAT(ErrorOf(nested(65)), HasSubstr("more than 64 open groups"));
  EXPECT_TRUE(Compile("^a{20000}$")->Matches(std::string(20'000, 'a')));
}

TEST(TextPatternTest, FormatsArePatternsOfTheSubset) {
  for (const char* format :
       {"date", "time", "date-time", "duration", "uuid", "ipv4", "ipv6", "hostname", "email", "uri"}) {
    EXPECT_FALSE(Compile(PatternOfFormat(format))->Matches("")) << format;
  }
  EXPECT_TRUE(PatternOfFormat("regex").empty());
}

TEST(TextLanguagesTest, IntersectionAndComplementAreThoseOfSets) {
  CompileBudget budget;
  TextLanguages l(budget);
  const auto pattern = [&](const char* text) { return *ParseTextPattern(text, l); };
  const auto both = l.Both(pattern("a"), l.Not(pattern("b$")));
  const auto either = l.Either(l.Not(pattern("^a")), pattern("b$"));
  for (const std::string& text : AllTexts("abc", 5)) {
    const bool has_a = text.find('a') != text.npos;
    EXPECT_EQ(l.Matches(both, text), has_a && !text.ends_with('b')) << text;
    EXPECT_EQ(l.Matches(either, text), !text.starts_with('a') || text.ends_with('b')) << text;
  }
}

TEST(TextLanguagesTest, MultiplesAreDecidedDigitByDigit) {
  CompileBudget budget;
  TextLanguages l(budget);
  for (const int divisor : {1, 2, 7, 15, 100, 250, 360, 997, 1000, 4096}) {
    const auto multiples = l.MultipleOf(divisor, 4);
    for (int i = 0; i < 20'000; ++i) {
      EXPECT_EQ(l.Matches(multiples, std::to_string(i)), i < 10'000 && i % divisor == 0)
          << i << " " << divisor;
    }
    EXPECT_FALSE(l.Matches(multiples, "-7"));
  }
  EXPECT_FALSE(budget.spent());
}

TEST(TextLanguagesTest, OnlyRemaindersThatDigitsTellApartCount) {
  CompileBudget budget;
  TextLanguages l(budget);
  EXPECT_EQ(l.ResidueCount(1), 1);
  EXPECT_EQ(l.ResidueCount(2), 2);
  EXPECT_EQ(l.ResidueCount(7), 7);
  EXPECT_EQ(l.ResidueCount(1000), 4);  // how many zeros it ends with
  EXPECT_EQ(l.ResidueCount(9973), 9973);
}

TEST(TextLanguagesTest, EqualExpressionsAreOne) {
  CompileBudget budget;
  TextLanguages l(budget);
  EXPECT_EQ(*ParseTextPattern("^(a|b)c$", l), *ParseTextPattern("^(b|a)c$", l));
  const auto date_time = *ParseTextPattern("^\\d{4}T\\d{2}$", l);
  const auto time = *ParseTextPattern("^\\d{2}$", l);
  auto at = date_time;
  for (int i = 0; i < 5; ++i) at = l.EdgesOf(at).front().rest;
  EXPECT_EQ(at, time) << "what one text goes on with is what the other begins with";
}

TEST(TextLanguagesTest, NothingIsMadeOnceTheBudgetIsSpent) {
  CompileBudget budget;
  TextLanguages l(budget);
  const auto any = l.Any();
  budget.Step(CompileBudget::kMaxSteps + 1);
  const int64_t bytes = budget.bytes();
  EXPECT_EQ(l.Literal("never seen"), l.Nothing());
  EXPECT_TRUE(l.EdgesOf(any).empty());
  EXPECT_LT(budget.bytes(), bytes + 10'000);
  EXPECT_THAT(std::string(budget.Check().message()), HasSubstr("more than 20000000 steps"));
}

}  // namespace
}  // namespace memgate
