#include "server/load_progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class LoadProgressTest : public testing::Test {
 protected:
  // Percent of every line that comes out of a load of `parts` parts of `seconds_per_part` each.
  std::vector<int> Load(int parts, double seconds_per_part) {
    LoadProgress progress(log_, [this] { return now_; });
    for (int done = 1; done <= parts; ++done) {
      now_ += absl::Seconds(seconds_per_part);
      progress.Update(done, parts);
    }
    std::vector<int> percents;
    std::istringstream lines(out_.str());
    for (std::string line; std::getline(lines, line);) {
      const auto json = nlohmann::json::parse(line);
      EXPECT_EQ(json["event"], "loading_progress");
      EXPECT_NEAR(json["seconds"].get<double>(), json["percent"].get<int>() * parts * seconds_per_part / 100,
                  parts * seconds_per_part / 100);
      percents.push_back(json["percent"]);
    }
    return percents;
  }

 private:
  std::ostringstream out_;
  Log log_{LogLevel::kInfo, LogFormat::kJson, std::make_shared<spdlog::sinks::ostream_sink_mt>(out_)};
  absl::Time now_ = absl::UnixEpoch();
};

TEST_F(LoadProgressTest, SaysEveryTenthOnce) {
  EXPECT_THAT(Load(40, 0.5), ElementsAre(10, 20, 30, 40, 50, 60, 70, 80, 90));
}

TEST_F(LoadProgressTest, IsSilentNoLongerThanTenSeconds) {
  EXPECT_THAT(Load(50, 4),
              ElementsAre(6, 10, 16, 20, 26, 30, 36, 40, 46, 50, 56, 60, 66, 70, 76, 80, 86, 90, 96));
}

TEST_F(LoadProgressTest, SaysNothingOfAModelThatLoadsAtOnce) { EXPECT_THAT(Load(24, 0.01), IsEmpty()); }

TEST_F(LoadProgressTest, SaysAtMostOneLineASecond) { EXPECT_THAT(Load(10, 0.4), ElementsAre(30, 60, 90)); }

TEST(LogWeightCacheTest, EveryOutcomeHasALineAndOnlyAFailedWriteIsAWarning) {
  const auto line = [](const WeightCacheEvent& event) {
    std::ostringstream out;
    Log log(LogLevel::kInfo, LogFormat::kJson, std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
    LogWeightCache(log, event);
    auto json = nlohmann::json::parse(out.str());
    json.erase("time");
    return json;
  };
  using Outcome = WeightCacheEvent::Outcome;
  const absl::Duration took = absl::Milliseconds(250);
  EXPECT_EQ(line({"weights", Outcome::kHit, "", took}),
            nlohmann::json(
                {{"level", "info"}, {"event", "weight_cache_hit"}, {"what", "weights"}, {"seconds", 0.25}}));
  EXPECT_EQ(line({"weights", Outcome::kWritten, "", took})["event"], "weight_cache_written");
  EXPECT_EQ(line({"weights", Outcome::kAlreadyWritten, "", took})["event"], "weight_cache_already_written");
  const auto miss = line({"fingerprint", Outcome::kMiss, "/c: no such file", took});
  EXPECT_EQ(miss["event"], "weight_cache_miss");
  EXPECT_EQ(miss["level"], "info");
  EXPECT_EQ(miss["reason"], "/c: no such file");
  const auto not_written = line({"weights", Outcome::kNotWritten, "/c: disk full", took});
  EXPECT_EQ(not_written["event"], "weight_cache_not_written");
  EXPECT_EQ(not_written["level"], "warning");
  EXPECT_EQ(not_written["reason"], "/c: disk full");
}

}  // namespace
}  // namespace memgate
