#include "engine/text/text_normalizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/text/charsmap_blobs.h"

namespace memgate {
namespace {

using testing::HasSubstr;

std::string Normalize(const std::vector<NormalizerRule>& rules, std::string_view text,
                      Prepending prepending = Prepending::kOn) {
  const absl::StatusOr<TextNormalizer> normalizer = TextNormalizer::Compile(rules);
  EXPECT_TRUE(normalizer.ok()) << normalizer.status();
  MatchWork work(text.size());
  const absl::StatusOr<std::string> normalized = normalizer->Normalize(text, prepending, work);
  EXPECT_TRUE(normalized.ok()) << normalized.status();
  return normalized.value_or("");
}

TEST(TextNormalizerTest, AppliesRulesInOrder) {
  EXPECT_EQ(Normalize({PrependRule{"_"}, ReplaceRule{" ", "_"}}, "a b"), "_a_b");
  EXPECT_EQ(Normalize({ReplaceRule{"a", " "}, ReplaceRule{" ", "_"}}, "a b"), "__b");
}

TEST(TextNormalizerTest, PrependsOnlyToTheStartOfAText) {
  EXPECT_EQ(Normalize({PrependRule{"_"}}, "a", Prepending::kOff), "a");
  EXPECT_EQ(Normalize({PrependRule{"_"}}, ""), "");
}

TEST(TextNormalizerTest, ReplacesLiteralsAndPatterns) {
  EXPECT_EQ(Normalize({ReplaceRule{".", "!"}}, "a.b"), "a!b");
  EXPECT_EQ(Normalize({ReplaceRule{" {2,}", " ", false}}, "a   b c  "), "a b c ");
  EXPECT_EQ(Normalize({ReplaceRule{"(a)", "$1", false}}, "aa"), "$1$1") << "the content is taken as it is";
}

TEST(TextNormalizerTest, ComposesAndDecomposes) {
  EXPECT_EQ(Normalize({UnicodeRule{NormalizationForm::kNfc}}, "e\xCC\x81"), "é");
  EXPECT_EQ(Normalize({UnicodeRule{NormalizationForm::kNfd}}, "é"), "e\xCC\x81");
  EXPECT_EQ(Normalize({UnicodeRule{NormalizationForm::kNfkc}}, "ﬁ①Ａ"), "fi1A");
  EXPECT_EQ(Normalize({UnicodeRule{NormalizationForm::kNfkd}}, "ｶﾞé"),
            "カ\xE3\x82\x99"
            "e\xCC\x81");
}

TEST(TextNormalizerTest, WritesLowerCaseCharacterByCharacter) {
  EXPECT_EQ(Normalize({LowercaseRule{}}, "ÀBC ΣΑΣ ẞ ǅ"), "àbc σασ ß ǆ") << "without the final form of sigma";
  EXPECT_EQ(Normalize({LowercaseRule{}}, "İ"), "i\xCC\x87");
}

TEST(TextNormalizerTest, DropsAccentsOfDecomposedText) {
  EXPECT_EQ(Normalize({UnicodeRule{NormalizationForm::kNfd}, StripAccentsRule{}}, "é ñ"), "e n");
}

TEST(TextNormalizerTest, StripsWhiteSpaceAtTheEnds) {
  EXPECT_EQ(Normalize({StripRule{}}, " \t a b\xC2\xA0\n"), "a b");
  EXPECT_EQ(Normalize({StripRule{true, false}}, " a "), "a ");
  EXPECT_EQ(Normalize({StripRule{false, true}}, " a "), " a");
  EXPECT_EQ(Normalize({StripRule{}}, " a ", Prepending::kOff), " a")
      << "a word that continues a text keeps it";
}

TEST(TextNormalizerTest, NmtMakesSpacesOfInvisibleCharacters) {
  EXPECT_EQ(Normalize({NmtRule{}},
                      "a\tb\x01"
                      "c\xE2\x80\x8B"
                      "d\xEF\xBB\xBF"),
            "a bc d ");
}

TEST(TextNormalizerTest, RefusesRulesThatMultiplyText) {
  const std::string huge(1'000, 'x');
  for (const NormalizerRule& rule :
       {NormalizerRule(ReplaceRule{"a", huge}), NormalizerRule(ReplaceRule{"a", huge, false}),
        NormalizerRule(SentencePieceRule{.charsmap = CharsmapBlob({{"a", huge}})})}) {
    const absl::StatusOr<TextNormalizer> normalizer = TextNormalizer::Compile({rule});
    ASSERT_TRUE(normalizer.ok()) << normalizer.status();
    MatchWork work(1000);
    EXPECT_EQ(normalizer->Normalize(std::string(1000, 'a'), Prepending::kOn, work).status().code(),
              absl::StatusCode::kResourceExhausted);
  }
}

// Without a look before, the second rule would build 30 GB.
TEST(TextNormalizerTest, RulesTogetherMultiplyTextNoMoreThanOneMay) {
  const std::string thirty(30, 'a');
  for (const bool is_literal : {true, false}) {
    const auto normalizer = TextNormalizer::Compile(
        {ReplaceRule{"a", thirty, is_literal}, ReplaceRule{"a", std::string(1000, 'a'), is_literal}});
    ASSERT_TRUE(normalizer.ok()) << normalizer.status();
    const std::string text(1 << 20, 'a');
    MatchWork work(text.size());
    EXPECT_EQ(normalizer->Normalize(text, Prepending::kOn, work).status().code(),
              absl::StatusCode::kResourceExhausted);
  }
  EXPECT_EQ(Normalize({ReplaceRule{"a", std::string(1000, 'x')}}, "bab").size(), 1002u)
      << "what short texts become is not refused";
}

TEST(TextNormalizerTest, RefusesAPrefixThatIsLongerThanTheText) {
  const auto normalizer = TextNormalizer::Compile({PrependRule{std::string(10'000, 'x')}});
  MatchWork work(1);
  EXPECT_EQ(normalizer->Normalize("a", Prepending::kOn, work).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(TextNormalizerTest, NamesABrokenPatternOrTable) {
  EXPECT_THAT(std::string(TextNormalizer::Compile({ReplaceRule{"(a", "", false}}).status().message()),
              HasSubstr("regular expression"));
  EXPECT_THAT(std::string(TextNormalizer::Compile({SentencePieceRule{.charsmap = "abc"}}).status().message()),
              HasSubstr("precompiled_charsmap"));
}

TEST(SentencePieceNormalizerTest, ReplacesTheLongestStringOfTheTable) {
  const SentencePieceRule rule{.charsmap = CharsmapBlob({{"A", "a"}, {"AB", "x"}, {"é", "e"}, {"Z", ""}})};
  EXPECT_EQ(Normalize({rule}, "ABACéZ."), "xaCe.");
}

TEST(SentencePieceNormalizerTest, KeepsItsSymbolsAsTheyAre) {
  const SentencePieceRule rule{.charsmap = CharsmapBlob({{"A", "a"}}), .kept = {"AA"}};
  EXPECT_EQ(Normalize({rule}, "AAA"), "AAa");
}

TEST(SentencePieceNormalizerTest, RemovesExtraSpacesAndPutsOneFirst) {
  const SentencePieceRule rule{.add_dummy_prefix = true, .remove_extra_spaces = true, .space = "_"};
  EXPECT_EQ(Normalize({rule}, "  a  b c  "), "_a_b_c");
  EXPECT_EQ(Normalize({rule}, "   "), "");
  EXPECT_EQ(Normalize({rule}, "  a ", Prepending::kOff), "_a") << "in the middle of a text one space is left";
  EXPECT_EQ(Normalize({rule}, "a", Prepending::kOff), "a");
}

TEST(SentencePieceNormalizerTest, KeepsSpacesIfNotToldToRemoveThem) {
  const SentencePieceRule rule{.add_dummy_prefix = true, .space = "_"};
  EXPECT_EQ(Normalize({rule}, " a  b "), "__a__b_");
  EXPECT_EQ(Normalize({rule}, ""), "");
}

}  // namespace
}  // namespace memgate
