#include "server/replay_cache.h"

#include <gtest/gtest.h>

#include <string>

#include "server/error.h"

namespace memgate {
namespace {

Answer TextAnswer(const std::string& text) {
  Answer answer(1);
  answer[0].mutable_delta()->set_text(text);
  return answer;
}

class ReplayCacheTest : public testing::Test {
 protected:
  absl::Time now_ = absl::FromUnixSeconds(1000);
  ReplayCache cache_{absl::Minutes(10), 10'000, [this] { return now_; }};
  const ReplayCache::Key key_{"tenant", "session", "request"};
};

TEST_F(ReplayCacheTest, ReplaysAFinishedAnswer) {
  ASSERT_EQ(*cache_.Begin(key_), nullptr);
  cache_.Store(key_, TextAnswer("hello"));
  const auto answer = cache_.Begin(key_);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ((**answer)[0].delta().text(), "hello");
}

TEST_F(ReplayCacheTest, RefusesASecondCallWhileTheFirstRuns) {
  ASSERT_TRUE(cache_.Begin(key_).ok());
  const auto second = cache_.Begin(key_);
  EXPECT_TRUE(absl::IsAborted(second.status()));
  EXPECT_EQ(ReasonOf(second.status()), "REQUEST_IN_PROGRESS");
}

TEST_F(ReplayCacheTest, AFailedCallMayBeMadeAgain) {
  ASSERT_TRUE(cache_.Begin(key_).ok());
  cache_.Abandon(key_);
  EXPECT_EQ(*cache_.Begin(key_), nullptr);
}

TEST_F(ReplayCacheTest, TenantsAndSessionsDoNotShareRequestIds) {
  ASSERT_TRUE(cache_.Begin(key_).ok());
  cache_.Store(key_, TextAnswer("mine"));
  EXPECT_EQ(*cache_.Begin({"other", "session", "request"}), nullptr);
  EXPECT_EQ(*cache_.Begin({"tenant", "other", "request"}), nullptr);
  EXPECT_EQ(*cache_.Begin({"tenant", "session", "request", now_}), nullptr) << "another session of that name";
}

TEST_F(ReplayCacheTest, ForgetsAfterTenMinutes) {
  ASSERT_TRUE(cache_.Begin(key_).ok());
  cache_.Store(key_, TextAnswer("hello"));
  now_ += absl::Minutes(10) - absl::Seconds(1);
  EXPECT_NE(*cache_.Begin(key_), nullptr);
  now_ += absl::Seconds(1);
  EXPECT_EQ(*cache_.Begin(key_), nullptr);
  EXPECT_EQ(cache_.bytes(), 0);
}

TEST_F(ReplayCacheTest, ForgetsTheOldestWhenBytesRunOut) {
  for (int i = 0; i < 4; ++i) {
    const ReplayCache::Key key{"t", "s", std::to_string(i)};
    ASSERT_TRUE(cache_.Begin(key).ok());
    cache_.Store(key, TextAnswer(std::string(3000, 'x')));
    EXPECT_LE(cache_.bytes(), 10'000);
  }
  EXPECT_EQ(*cache_.Begin({"t", "s", "0"}), nullptr);
  EXPECT_NE(*cache_.Begin({"t", "s", "3"}), nullptr);
}

}  // namespace
}  // namespace memgate
