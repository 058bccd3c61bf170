#include "server/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <memory>
#include <sstream>
#include <string>

#include "nlohmann/json.hpp"

namespace memgate {
namespace {

using testing::HasSubstr;

class LogTest : public testing::Test {
 protected:
  Log MakeLog(LogLevel level, LogFormat format) {
    return Log(level, format, std::make_shared<spdlog::sinks::ostream_sink_mt>(out_));
  }
  std::ostringstream out_;
};

TEST_F(LogTest, JsonLinesSurviveAnyBytes) {
  Log log = MakeLog(LogLevel::kInfo, LogFormat::kJson);
  log.Info("call", {{"method", "Gen\"erate\n{}%v"}, {"bad", "\xff"}, {"n", 7}, {"ms", 1.5}});
  const auto line = nlohmann::json::parse(out_.str());
  EXPECT_EQ(line["event"], "call");
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["method"], "Gen\"erate\n{}%v");
  EXPECT_EQ(line["bad"], "\xEF\xBF\xBD");
  EXPECT_EQ(line["n"], 7);
  EXPECT_EQ(line["ms"], 1.5);
  EXPECT_TRUE(line.contains("time"));
}

TEST_F(LogTest, TextLinesStayOnOneLine) {
  Log log = MakeLog(LogLevel::kInfo, LogFormat::kText);
  log.Warning("x", {{"message", "two\nlines"}});
  EXPECT_THAT(out_.str(), HasSubstr("warning x message=\"two\\nlines\"\n"));
}

TEST_F(LogTest, WritesNothingBelowItsLevel) {
  Log log = MakeLog(LogLevel::kWarning, LogFormat::kText);
  log.Info("quiet");
  EXPECT_EQ(out_.str(), "");
  log.Error("loud");
  EXPECT_THAT(out_.str(), HasSubstr("loud"));
}

}  // namespace
}  // namespace memgate
