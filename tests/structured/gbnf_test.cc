#include "engine/structured/gbnf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/structured/matching.h"

namespace memgate {
namespace {

using testing::HasSubstr;

Matcher Compile(std::string_view text) {
  auto grammar = ParseGbnf(text);
  EXPECT_TRUE(grammar.ok()) << text << "\n" << grammar.status();
  return Matcher(grammar.ok() ? *std::move(grammar) : *ParseGbnf("root ::= \"unusable\""));
}

void ExpectMatches(std::string_view grammar, const std::vector<std::string>& yes,
                   const std::vector<std::string>& no) {
  Matcher matcher = Compile(grammar);
  for (const std::string& text : yes) EXPECT_TRUE(matcher.Matches(text)) << grammar << "\n<" << text << ">";
  for (const std::string& text : no) EXPECT_FALSE(matcher.Matches(text)) << grammar << "\n<" << text << ">";
}

std::string ErrorOf(std::string_view grammar) {
  const auto parsed = ParseGbnf(grammar);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << grammar;
  return std::string(parsed.status().message());
}

TEST(GbnfTest, ReadsTextsClassesGroupsAndRepetitions) {
  ExpectMatches("root ::= \"ab\" | \"c\"", {"ab", "c"}, {"", "a", "abc", "d"});
  ExpectMatches("root ::= [a-c_]+ [^x]?", {"a", "abc_", "az", "a\xC3\xA9", "a\n"}, {"", "x", "ax", "zz"});
  ExpectMatches("root ::= (\"a\" \"b\"?)*", {"", "a", "ab", "aab", "abab"}, {"b", "abb"});
  ExpectMatches("root ::= \"a\"{2} \"b\"{1,} \"c\"{,2} \"d\"{1,3}", {"aabd", "aabbbccddd"},
                {"abd", "aad", "aabcccd", "aabdddd"});
  ExpectMatches("root ::= \"a\"{2}{3} | (\"b\"{0})", {"aaaaaa", ""}, {"aaaa", "b"});
  ExpectMatches("root ::= .", {"a", "é", "\n", "\xF0\x9F\x99\x82"}, {"", "ab", "\xC3", "\xFF"});
  ExpectMatches("root ::= \"\"", {""}, {"a"});
  ExpectMatches("root ::= [\\]\\-a] | [-z] | [z-]", {"]", "-", "a", "z"}, {"\\", "b"});
}

// As llama.cpp has it: blanks may stand before a mark, line ends only within brackets.
TEST(GbnfTest, BlanksMayStandBeforeRepetitions) {
  ExpectMatches("root ::= \"a\" * \"b\"\t+ \"c\" ?", {"b", "aabbc"}, {"a", "bcc"});
  ExpectMatches("root ::= \"a\" { 2 , 3 } # so many\n", {"aa", "aaa"}, {"a", "aaaa"});
  ExpectMatches("root ::= (\"a\"\n  # some\n  + \"b\")", {"ab", "aab"}, {"b"});
  EXPECT_THAT(ErrorOf("root ::= \"a\"\n+"), HasSubstr("line 2, column 1: expected the name of a rule"));
}

TEST(GbnfTest, ReadsEscapes) {
  ExpectMatches("root ::= \"\\n\\t\\\"\\\\\\x41\\u00e9\\U0001F642\"", {"\n\t\"\\A\xC3\xA9\xF0\x9F\x99\x82"},
                {""});
  ExpectMatches("root ::= [\\x41-\\x43\\u4e00-\\u9fff]", {"A", "C", "\xE4\xBD\xA0"}, {"D", "\xE3\x81\x82"});
}

TEST(GbnfTest, RulesCallEachOtherAndThemselves) {
  ExpectMatches(R"gbnf(
# arithmetic
root   ::= term (ws [-+] ws term)*   # a sum
term   ::= number
         | "(" root ")"
number ::= [0-9]+
ws     ::= " "?
)gbnf",
                {"1", "1+2", "(1 + 23)-4", "((7))"}, {"", "1+", "(1", "1)", "1  + 2"});
  ExpectMatches("root ::= \"a\" root \"b\" | \"\"", {"", "ab", "aaabbb"}, {"a", "aab", "ba"});
  ExpectMatches("root ::= list\nlist ::= \"x\" | \"x,\" list", {"x", "x,x,x"}, {"x,", ",x"});
  ExpectMatches("root ::= (\n  \"a\"\n  | \"b\"\n)\n", {"a", "b"}, {"ab"});
}

// Every prefix of either reading stays open until the text decides; the number of stacks would double with
// each "a" if they were not shared.
TEST(GbnfTest, AmbiguityCostsStatesNotTime) {
  Matcher matcher = Compile("root ::= s\ns ::= \"a\" s \"b\" | \"a\" s \"c\" | \"a\" s \"b\" \"c\" | \"\"");
  const std::string many(300, 'a');
  EXPECT_TRUE(matcher.Matches(many + std::string(300, 'b')));
  EXPECT_TRUE(matcher.Matches(many + std::string(300, 'c')));
  EXPECT_FALSE(matcher.Matches(many + std::string(299, 'c')));
  EXPECT_FALSE(matcher.automaton().exhausted());
}

TEST(GbnfTest, WhatLeadsNowhereIsNotBegun) {
  Matcher matcher = Compile("root ::= \"a\" | \"b\" never\nnever ::= \"x\" never");
  EXPECT_TRUE(matcher.Matches("a"));
  EXPECT_FALSE(matcher.Begins("b"));
  EXPECT_THAT(ErrorOf("root ::= \"a\" root"), HasSubstr("no text matches"));
  EXPECT_THAT(ErrorOf("root ::= []"), HasSubstr("no text matches"));
}

TEST(GbnfTest, ErrorsNamePlaceAndReason) {
  EXPECT_THAT(ErrorOf("root ::= \"a"),
              HasSubstr("line 1, column 12: a text or class does not end in its line"));
  EXPECT_THAT(ErrorOf("root ::= \"a\"\nb = \"c\""), HasSubstr("line 2, column 3: expected \"::=\""));
  EXPECT_THAT(ErrorOf("root ::= missing"), HasSubstr("rule \"missing\" is used but not defined"));
  EXPECT_THAT(ErrorOf("a ::= \"x\""), HasSubstr("no rule \"root\""));
  EXPECT_THAT(ErrorOf(""), HasSubstr("no rule \"root\""));
  EXPECT_THAT(ErrorOf("root ::= \"a\"\nroot ::= \"b\""), HasSubstr("defined a second time"));
  EXPECT_THAT(ErrorOf("root ::= (\"a\""), HasSubstr("expected \")\""));
  EXPECT_THAT(ErrorOf("root ::= \"a\")"), HasSubstr("expected the end of the rule"));
  EXPECT_THAT(ErrorOf("root ::= [z-a]"), HasSubstr("runs backwards"));
  EXPECT_THAT(ErrorOf("root ::= \"\\q\""), HasSubstr("unknown escape"));
  EXPECT_THAT(ErrorOf("root ::= \"\\ud800\""), HasSubstr("no Unicode character"));
  EXPECT_THAT(ErrorOf("root ::= \"a\"{3,2}"), HasSubstr("at most fewer than at least"));
  EXPECT_THAT(ErrorOf("root ::= \"a\"{,}"), HasSubstr("expected a number"));
  EXPECT_THAT(ErrorOf("root ::= \"a\"{100001}"), HasSubstr("above 100000"));
  EXPECT_THAT(ErrorOf("root ::= *"), HasSubstr("expected a text in quotes"));
  EXPECT_THAT(ErrorOf("root ::= \"\xFF\""), HasSubstr("UTF-8"));
}

TEST(GbnfTest, LeftRecursionIsRefusedByName) {
  EXPECT_THAT(ErrorOf("root ::= root \"a\" | \"b\""), HasSubstr("rule \"root\" calls itself before"));
  EXPECT_THAT(ErrorOf("root ::= a\na ::= blank b\nb ::= a \"x\" | \"y\"\nblank ::= \" \"?"),
              HasSubstr("left recursion"));
}

TEST(GbnfTest, SizeIsBounded) {
  // A node for each byte, and two that every network has.
  ExpectMatches("root ::= \"a\"{100000} \"a\"{31070}", {std::string(131'070, 'a')}, {"a"});
  EXPECT_THAT(ErrorOf("root ::= \"a\"{100000} \"a\"{31071}"),
              HasSubstr("line 1, column 32: the grammar takes more than 131072 positions up to here"));
  EXPECT_THAT(ErrorOf("root ::= (\"a\"{1000}){1000}"), HasSubstr("more than 131072 positions"));
  const auto nested = [](int depth) {
    return "root ::= " + std::string(depth, '(') + "\"a\"" + std::string(depth, ')');
  };
  ExpectMatches(nested(64), {"a"}, {""});
  EXPECT_THAT(ErrorOf(nested(65)), HasSubstr("more than 64 open brackets"));
  ExpectMatches("root ::= \"\"{100000}{100000}{100000} \"a\"", {"a"}, {""});
}

// What is repeated takes work, but no node.
TEST(GbnfTest, WorkIsBounded) {
  std::string empty;
  for (int i = 0; i < 50'000; ++i) empty += "\"\" ";
  EXPECT_THAT(ErrorOf("root ::= \"a\" (" + empty + "){0,100000}"),
              HasSubstr("the grammar takes more than 20000000 steps to compile"));
}

}  // namespace
}  // namespace memgate
