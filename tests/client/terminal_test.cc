#include "client/commands/terminal.h"

#include <gtest/gtest.h>

#include <sstream>

namespace memgate {
namespace {

TEST(ProgressLineTest, ShowsShareTokensRateAndTimeLeft) {
  const Progress progress = {
      .done = 25, .total = 100, .tokens = 5000, .tokens_per_s = 1999.6, .elapsed = absl::Seconds(10)};
  EXPECT_EQ(ProgressLine(progress, 200),
            "[##########..............................]  25%  5,000 tokens  2,000 tok/s  0:30 left");
}

TEST(ProgressLineTest, NeverReachesTheLastColumn) {
  const Progress progress = {
      .done = 99, .total = 100, .tokens = 123456789, .tokens_per_s = 123456, .elapsed = absl::Hours(5)};
  for (int width = 60; width < 140; ++width) {
    EXPECT_LT(ProgressLine(progress, width).size(), static_cast<size_t>(width)) << width;
  }
}

TEST(ProgressLineTest, NarrowTerminalLosesTheBarFirst) {
  const std::string line = ProgressLine({.done = 1, .total = 2, .tokens = 3}, 30);
  EXPECT_EQ(line.find('['), line.npos);
  EXPECT_NE(line.find("50%"), line.npos);
}

TEST(ProgressLineTest, UnknownTotalShowsTheTimePassed) {
  EXPECT_EQ(ProgressLine({.done = 7, .tokens = 3, .tokens_per_s = 1.5, .elapsed = absl::Seconds(2)}, 80),
            "3 tokens  2 tok/s  0:02");
}

TEST(ProgressLineTest, MoreThanAllIsAll) {
  EXPECT_NE(ProgressLine({.done = 300, .total = 100}, 80).find("100%"), std::string::npos);
}

TEST(ProgressBarTest, DrawsOnTerminalsOnly) {
  std::istringstream in;
  std::ostringstream out, err;
  {
    ProgressBar bar(Terminal{.in = in, .out = out, .err = err});
    bar.Show({.done = 1, .total = 2});
  }
  EXPECT_EQ(err.str(), "");
  const Terminal screen = {.in = in, .out = out, .err = err, .err_is_terminal = true};
  {
    ProgressBar bar(screen);
    bar.Show({.done = 1, .total = 2});
    EXPECT_NE(err.str().find("50%"), std::string::npos);
  }
  EXPECT_TRUE(err.str().ends_with("\r\033[K"));
  EXPECT_EQ(out.str(), "");
}

TEST(TerminalTest, ColoursOnlyWhereTheyAreWelcome) {
  std::istringstream in;
  std::ostringstream out, err;
  const Terminal terminal = {.in = in, .out = out, .err = err, .err_has_colour = true};
  EXPECT_EQ(terminal.OnOut(Style::kBad, "x"), "x");
  EXPECT_EQ(terminal.OnErr(Style::kBad, "x"), "\033[31mx\033[0m");
  EXPECT_EQ(terminal.OnErr(Style::kPlain, "x"), "x");
  EXPECT_EQ(terminal.OnErr(Style::kBold, ""), "");
}

}  // namespace
}  // namespace memgate
