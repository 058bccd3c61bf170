#include "engine/structured/json_numbers.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/structured/matching.h"

namespace memgate {
namespace {

Decimal Read(const std::string& text) {
  const auto decimal = ParseDecimal(text);
  EXPECT_TRUE(decimal.ok()) << text << ": " << decimal.status();
  return decimal.ok() ? *decimal : Decimal();
}

TEST(DecimalTest, ReadsEveryFormOfJson) {
  const auto expect = [](const std::string& text, bool negative, const std::string& whole,
                         const std::string& fraction) {
    const Decimal decimal = Read(text);
    EXPECT_EQ(decimal.negative, negative) << text;
    EXPECT_EQ(decimal.whole, whole) << text;
    EXPECT_EQ(decimal.fraction, fraction) << text;
  };
  expect("0", false, "0", "");
  expect("-0.0", false, "0", "");
  expect("12.50", false, "12", "5");
  expect("-1.25e2", true, "125", "");
  expect("1.5e+1", false, "15", "");
  expect("120e-3", false, "0", "12");
  expect("-12345.678e-2", true, "123", "45678");
  EXPECT_FALSE(ParseDecimal("1e41").ok());
  EXPECT_FALSE(ParseDecimal("1e-99999999999999999999").ok());
}

TEST(DecimalTest, ComparesByValue) {
  const std::vector<std::string> ascending = {"-100", "-99.5", "-9",   "-0.51", "-0.5", "0",
                                              "0.05", "0.5",   "0.51", "1",     "9.99", "10"};
  for (size_t i = 0; i < ascending.size(); ++i) {
    for (size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_EQ(Read(ascending[i]).Compare(Read(ascending[j])), i < j ? -1 : (i > j ? 1 : 0))
          << i << " " << j;
    }
  }
}

// Texts with up to three digits before and two behind the point, in all their forms.
std::vector<std::string> Texts() {
  std::vector<std::string> texts;
  for (const char* sign : {"", "-"}) {
    for (const char* whole :
         {"0", "1", "4", "5", "6", "9", "10", "11", "49", "50", "51", "99", "100", "105", "999"}) {
      for (const char* fraction : {"", ".0", ".00", ".01", ".1", ".2", ".24", ".25", ".250", ".26", ".3",
                                   ".5", ".50", ".51", ".9", ".99"}) {
        texts.push_back(std::string(sign) + whole + fraction);
      }
    }
  }
  return texts;
}

TEST(NumbersWithinTest, AreThoseThatComparisonFinds) {
  const std::vector<std::string> texts = Texts();
  for (const char* bound : {"0", "-0.25", "0.25", "5", "-5", "50", "10.5", "-99.9", "100", "-1", "99"}) {
    for (const bool exclusive : {false, true}) {
      for (const bool lower : {false, true}) {
        NumberBounds bounds;
        (lower ? bounds.lower : bounds.upper) = NumberBounds::Bound{Read(bound), exclusive};
        for (const bool whole : {false, true}) {
          bounds.whole = whole;
          OneLanguage numbers;
          numbers.expression = NumbersWithin(bounds, numbers.languages);
          for (const std::string& text : texts) {
            if (whole && text.find('.') != text.npos) {
              EXPECT_FALSE(numbers.Matches(text)) << text;
              continue;
            }
            const double value = std::atof(text.c_str());
            const double limit = std::atof(bound);
            const bool within = value == limit ? !exclusive : (value > limit) == lower;
            // -0 is left out where nothing else that is negative fits.
            if (value == 0 && text[0] == '-' && lower && !Read(bound).negative) continue;
            EXPECT_EQ(numbers.Matches(text), within)
                << text << (lower ? " above " : " below ") << bound << (exclusive ? " strictly" : "");
            EXPECT_EQ(bounds.Contains(Read(text)), within) << text;
          }
        }
      }
    }
  }
}

TEST(NumbersWithinTest, HaveDigitsThatADoubleTellsApart) {
  NumberBounds bounds;
  bounds.lower = NumberBounds::Bound{Read("0"), true};
  OneLanguage numbers;
  numbers.expression = NumbersWithin(bounds, numbers.languages);
  EXPECT_TRUE(numbers.Matches("999999999.999999"));
  EXPECT_FALSE(numbers.Matches("1000000000"));
  EXPECT_FALSE(numbers.Matches("0.1234567"));
  bounds.whole = true;
  numbers.expression = NumbersWithin(bounds, numbers.languages);
  EXPECT_TRUE(numbers.Matches("999999999999999999"));
  EXPECT_FALSE(numbers.Matches("1000000000000000000"));
}

// Where many remainders matter, as many digits as the bounds need, or 8.
TEST(NumbersWithinTest, MultiplesOfLargePrimesAreShorter) {
  NumberBounds bounds;
  bounds.whole = true;
  bounds.multiple_of = 9973;
  const auto matches = [&](const std::string& text) {
    OneLanguage numbers;
    numbers.expression = NumbersWithin(bounds, numbers.languages);
    return numbers.Matches(text);
  };
  EXPECT_TRUE(matches("0"));
  EXPECT_TRUE(matches("-9973"));
  EXPECT_TRUE(matches("99730000"));
  EXPECT_FALSE(matches("99730001"));
  EXPECT_FALSE(matches("997300000")) << "9 digits";
  bounds.lower = NumberBounds::Bound{Read("1000000000"), false};
  EXPECT_TRUE(matches("9973000000"));
  EXPECT_TRUE(matches("99730000000"));
  EXPECT_FALSE(matches("9973"));
  bounds.multiple_of = 1000;  // the last three digits matter
  EXPECT_TRUE(matches("999999999999999000"));
}

TEST(NumberBoundsTest, TightenToWhatBothAllow) {
  NumberBounds bounds;
  bounds.RaiseLower({Read("1"), false});
  bounds.RaiseLower({Read("1.0"), true});
  bounds.RaiseLower({Read("0"), false});
  bounds.LowerUpper({Read("9"), true});
  bounds.LowerUpper({Read("5"), false});
  EXPECT_FALSE(bounds.Contains(Read("1")));
  EXPECT_TRUE(bounds.Contains(Read("1.1")));
  EXPECT_TRUE(bounds.Contains(Read("5")));
  EXPECT_FALSE(bounds.Contains(Read("5.1")));
}

}  // namespace
}  // namespace memgate
