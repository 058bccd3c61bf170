#include "client/commands/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<OptionSpec>& Specs() {
  static const auto* const specs = new std::vector<OptionSpec>{
      {"max-tokens", "N", ""}, {"temperature", "X", ""}, {"ttl", "TIME", ""}, {"max-bytes", "SIZE", ""},
      {"seed", "N", ""},       {"stop", "TEXT", ""},     {"json", "", ""}};
  return *specs;
}

Arguments Parse(const std::vector<std::string>& words) {
  auto arguments = ParseArguments(Specs(), words);
  EXPECT_TRUE(arguments.ok()) << arguments.status();
  return arguments.ok() ? *arguments : Arguments();
}

std::string ErrorOf(const std::vector<std::string>& words) {
  const auto arguments = ParseArguments(Specs(), words);
  EXPECT_TRUE(IsUsageError(arguments.status()));
  return std::string(arguments.status().message());
}

TEST(ArgumentsTest, OptionsMayStandAnywhereInEitherForm) {
  const Arguments arguments = Parse({"--json", "one", "--max-tokens", "5", "--temperature=0.5", "two"});
  EXPECT_TRUE(arguments.Has("json"));
  EXPECT_EQ(arguments.Text("max-tokens"), "5");
  EXPECT_EQ(arguments.Text("temperature"), "0.5");
  EXPECT_FALSE(arguments.Has("stop"));
  EXPECT_THAT(arguments.positional(), ElementsAre("one", "two"));
}

TEST(ArgumentsTest, TwoDashesEndTheOptions) {
  EXPECT_THAT(Parse({"a", "--", "--json", "-x"}).positional(), ElementsAre("a", "--json", "-x"));
}

TEST(ArgumentsTest, NegativeNumbersAndSingleDashArePositional) {
  EXPECT_THAT(Parse({"-5", "-"}).positional(), ElementsAre("-5", "-"));
}

TEST(ArgumentsTest, RepeatedOptionKeepsEveryValueInOrder) {
  const Arguments arguments = Parse({"--stop", "a", "--stop=b", "--stop="});
  EXPECT_THAT(arguments.All("stop"), ElementsAre("a", "b", ""));
  EXPECT_EQ(arguments.Text("stop"), "");
}

TEST(ArgumentsTest, UnknownOptionNamesTheClosestOne) {
  EXPECT_EQ(ErrorOf({"--temprature", "1"}), "unknown option --temprature; did you mean --temperature?");
  EXPECT_EQ(ErrorOf({"--max", "1"}), "unknown option --max; did you mean --max-tokens?");
  EXPECT_EQ(ErrorOf({"--colour"}), "unknown option --colour");
  EXPECT_THAT(ErrorOf({"-j"}), HasSubstr("two dashes"));
}

TEST(ArgumentsTest, MissingAndSuperfluousValuesAreNamed) {
  EXPECT_EQ(ErrorOf({"--seed"}), "--seed needs a value: N");
  EXPECT_EQ(ErrorOf({"--json=yes"}), "--json takes no value");
}

TEST(OptionReaderTest, ReadsEveryType) {
  const Arguments arguments = Parse({"--max-tokens", "-7", "--temperature", "0.25", "--ttl", "1h30m",
                                     "--max-bytes", "1.5MiB", "--seed", "18446744073709551615"});
  int32_t tokens = 0;
  float temperature = 0;
  absl::Duration ttl;
  int64_t bytes = 0;
  uint64_t seed = 0;
  OptionReader read(arguments);
  read.Int32("max-tokens", [&](int32_t v) { tokens = v; });
  read.Number("temperature", [&](float v) { temperature = v; });
  read.Time("ttl", [&](absl::Duration v) { ttl = v; });
  read.Bytes("max-bytes", [&](int64_t v) { bytes = v; });
  read.Uint64("seed", [&](uint64_t v) { seed = v; });
  ASSERT_TRUE(read.status().ok()) << read.status();
  EXPECT_EQ(tokens, -7);
  EXPECT_EQ(temperature, 0.25f);
  EXPECT_EQ(ttl, absl::Minutes(90));
  EXPECT_EQ(bytes, 1572864);
  EXPECT_EQ(seed, UINT64_MAX);
}

TEST(OptionReaderTest, AbsentOptionsSetNothing) {
  const Arguments arguments = Parse({});
  OptionReader read(arguments);
  read.Int32("max-tokens", [](int32_t) { FAIL(); });
  EXPECT_TRUE(read.status().ok());
}

TEST(OptionReaderTest, FirstWrongValueIsReportedAndLaterOnesAreSkipped) {
  const Arguments arguments = Parse({"--max-tokens", "many", "--seed", "1"});
  OptionReader read(arguments);
  read.Int32("max-tokens", [](int32_t) { FAIL(); });
  read.Uint64("seed", [](uint64_t) { FAIL(); });
  EXPECT_TRUE(IsUsageError(read.status()));
  EXPECT_EQ(read.status().message(), "--max-tokens takes a whole number, not \"many\"");
}

TEST(OptionReaderTest, RefusesWhatDoesNotFitTheType) {
  const auto error = [](const std::string& option, const std::string& value) {
    const Arguments arguments = Parse({"--" + option, value});
    OptionReader read(arguments);
    if (option == "max-tokens") read.Int32(option, [](int32_t) {});
    if (option == "seed") read.Uint64(option, [](uint64_t) {});
    if (option == "temperature") read.Number(option, [](float) {});
    if (option == "ttl") read.Time(option, [](absl::Duration) {});
    if (option == "max-bytes") read.Bytes(option, [](int64_t) {});
    return IsUsageError(read.status());
  };
  EXPECT_TRUE(error("max-tokens", "2147483648"));
  EXPECT_TRUE(error("max-tokens", "1.5"));
  EXPECT_TRUE(error("seed", "-1"));
  EXPECT_TRUE(error("temperature", "nan"));
  EXPECT_TRUE(error("temperature", "inf"));
  EXPECT_TRUE(error("ttl", "90"));
  EXPECT_TRUE(error("ttl", "-1s"));
  EXPECT_TRUE(error("max-bytes", "12 parsec"));
  EXPECT_TRUE(error("max-bytes", "MB"));
  EXPECT_TRUE(error("max-bytes", "99999999999GB"));
}

TEST(ClosestWordTest, FindsSlipsAndBeginningsButNothingFarAway) {
  const std::vector<std::string> words = {"sessions", "models", "generate"};
  EXPECT_EQ(ClosestWord("sesions", words), "sessions");
  EXPECT_EQ(ClosestWord("gen", words), "generate");
  EXPECT_EQ(ClosestWord("model", words), "models");
  EXPECT_EQ(ClosestWord("xylophone", words), "");
}

}  // namespace
}  // namespace memgate
