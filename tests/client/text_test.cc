#include "client/commands/text.h"

#include <gtest/gtest.h>

namespace memgate {
namespace {

TEST(TextTest, NumbersAreGroupedByThousands) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(999), "999");
  EXPECT_EQ(Grouped(1000), "1,000");
  EXPECT_EQ(Grouped(-1234567), "-1,234,567");
}

TEST(TextTest, BytesHaveThreeSignificantDigits) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.00 kB");
  EXPECT_EQ(HumanBytes(999'400), "999 kB");
  EXPECT_EQ(HumanBytes(999'600), "1.00 MB");
  EXPECT_EQ(HumanBytes(12'345'678), "12.3 MB");
  EXPECT_EQ(HumanBytes(5'000'000'000'000'000), "5000 TB");
}

TEST(TextTest, ClockTimeShowsHoursOnlyWhenThereAreAny) {
  EXPECT_EQ(ClockTime(absl::Seconds(7)), "0:07");
  EXPECT_EQ(ClockTime(absl::Seconds(760)), "12:40");
  EXPECT_EQ(ClockTime(absl::Seconds(3723)), "1:02:03");
  EXPECT_EQ(ClockTime(-absl::Seconds(3)), "0:00");
}

TEST(TextTest, TokensAreListedByHowTheyAreHeld) {
  v1::TokenAccounting accounting;
  accounting.set_total_tokens(20431);
  accounting.set_exact_tokens(272);
  accounting.set_salient_tokens(128);
  accounting.set_forgotten_tokens(20031);
  EXPECT_EQ(DescribeTokens(accounting),
            "20,431 tokens: 272 exact, 128 salient, 0 compressed, 20,031 forgotten");
}

TEST(TextTest, TableAlignsTextLeftAndNumbersRight) {
  EXPECT_EQ(Table({{"name", "bytes"}, {"a", "1.00 kB"}, {"größer", "12 B"}}),
            "name      bytes\n"
            "a       1.00 kB\n"
            "größer     12 B\n");
  EXPECT_EQ(Table({}), "");
}

}  // namespace
}  // namespace memgate
