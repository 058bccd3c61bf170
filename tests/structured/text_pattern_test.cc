#include "engine/structured/text_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <vector>

#include "engine/structured/string_formats.h"

namespace memgate {
namespace {

using testing::HasSubstr;

TextAutomaton Compile(std::string_view pattern) {
  TextLanguages languages;
  const auto expression = ParseTextPattern(pattern, languages);
  EXPECT_TRUE(expression.ok()) << pattern << "\n" << expression.status();
  if (!expression.ok()) return {{{}}};
  auto automaton = languages.ToAutomaton(*expression);
  EXPECT_TRUE(automaton.ok()) << pattern << "\n" << automaton.status();
  return automaton.ok() ? *std::move(automaton) : TextAutomaton{{{}}};
}

std::string ErrorOf(std::string_view pattern) {
  TextLanguages languages;
  const auto expression = ParseTextPattern(pattern, languages);
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
    const TextAutomaton automaton = Compile(pattern);
    const std::regex reference(pattern, std::regex::ECMAScript);
    for (const std::string& text : texts) {
      ASSERT_EQ(automaton.Matches(text), std::regex_search(text, reference))
          << pattern << " in <" << text << ">";
    }
  }
}

TEST(TextPatternTest, CountsCharactersNotBytes) {
  const TextAutomaton two = Compile("^..$");
  EXPECT_TRUE(two.Matches("\xC3\xA9\xF0\x9F\x99\x82"));
  EXPECT_FALSE(two.Matches("\xC3\xA9"));
  const TextAutomaton umlauts = Compile("^[ä-ü\\u{1F642}]+$");
  EXPECT_TRUE(umlauts.Matches("öä🙂"));
  EXPECT_FALSE(umlauts.Matches("a"));
  EXPECT_FALSE(Compile("^.$").Matches("\xE2\x80\xA8"));  // U+2028 ends lines
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
  EXPECT_THAT(ErrorOf(std::string(2001, 'a')), HasSubstr("at most 2000"));
  EXPECT_THAT(ErrorOf(std::string(70, '(') + std::string(70, ')')), HasSubstr("64 open groups"));
}

TEST(TextPatternTest, FormatsArePatternsOfTheSubset) {
  for (const char* format :
       {"date", "time", "date-time", "uuid", "ipv4", "ipv6", "hostname", "email", "uri"}) {
    EXPECT_FALSE(Compile(PatternOfFormat(format)).Matches("")) << format;
  }
  EXPECT_TRUE(PatternOfFormat("regex").empty());
}

TEST(TextLanguagesTest, IntersectionAndComplementAreThoseOfSets) {
  TextLanguages l;
  const auto pattern = [&](const char* text) { return *ParseTextPattern(text, l); };
  const auto both = l.ToAutomaton(l.Both(pattern("a"), l.Not(pattern("b$"))));
  const auto either = l.ToAutomaton(l.Either(l.Not(pattern("^a")), pattern("b$")));
  ASSERT_TRUE(both.ok() && either.ok());
  for (const std::string& text : AllTexts("abc", 5)) {
    const bool has_a = text.find('a') != text.npos;
    EXPECT_EQ(both->Matches(text), has_a && !text.ends_with('b')) << text;
    EXPECT_EQ(either->Matches(text), !text.starts_with('a') || text.ends_with('b')) << text;
  }
}

TEST(TextLanguagesTest, MultiplesAreDecidedDigitByDigit) {
  TextLanguages l;
  for (const int divisor : {1, 2, 7, 15, 100}) {
    const auto automaton = l.ToAutomaton(l.MultipleOf(divisor));
    ASSERT_TRUE(automaton.ok());
    for (int i = 0; i < 2000; ++i) EXPECT_EQ(automaton->Matches(std::to_string(i)), i % divisor == 0) << i;
    EXPECT_FALSE(automaton->Matches("-7"));
  }
}

}  // namespace
}  // namespace memgate
