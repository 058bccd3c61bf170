#include "server/session_registry.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {
namespace {

class SessionRegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::Load({.model_path = WriteTinyModel(folder_.File("tiny")), .threads = 1});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    registry_ = std::make_unique<SessionRegistry>(*engine_, RegistryLimits{4, 3}, [this] { return now_; });
  }

  absl::StatusOr<SessionRecord> Create(const std::string& tenant, const std::string& id,
                                       absl::Duration ttl = absl::ZeroDuration(),
                                       const std::string& request_id = "") {
    return registry_->Create(tenant, id, {.ttl = ttl}, request_id,
                             [this] { return engine_->CreateSession({}); });
  }

  TempFolder folder_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<SessionRegistry> registry_;
};

TEST_F(SessionRegistryTest, SessionsOfOtherTenantsDoNotExist) {
  ASSERT_TRUE(Create("a", "s").ok());
  EXPECT_TRUE(registry_->Get("a", "s").ok());
  EXPECT_TRUE(absl::IsNotFound(registry_->Get("b", "s").status()));
  EXPECT_TRUE(absl::IsNotFound(registry_->Delete("b", "s")));
  EXPECT_TRUE(absl::IsNotFound(registry_->Begin("b", "s").status()));
  EXPECT_TRUE(absl::IsNotFound(registry_->Update("b", "s", std::nullopt, std::nullopt).status()));
  EXPECT_TRUE(registry_->List("b", "", 10).empty());
  EXPECT_TRUE(Create("b", "s").ok()) << "tenants choose names independently";
}

TEST_F(SessionRegistryTest, ANameIsTakenOnce) {
  ASSERT_TRUE(Create("a", "s").ok());
  const auto again = Create("a", "s");
  EXPECT_TRUE(absl::IsAlreadyExists(again.status()));
  EXPECT_EQ(ReasonOf(again.status()), "SESSION_EXISTS");
}

TEST_F(SessionRegistryTest, ChoosesRandomNamesThatFollowTheRule) {
  const auto first = Create("a", ""), second = Create("a", "");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->id.size(), 16u);
  EXPECT_NE(first->id, second->id);
}

TEST_F(SessionRegistryTest, ARequestIdMakesCreateIdempotent) {
  const auto first = Create("a", "s", absl::ZeroDuration(), "r1");
  const auto retry = Create("a", "s", absl::ZeroDuration(), "r1");
  ASSERT_TRUE(first.ok() && retry.ok()) << retry.status();
  EXPECT_EQ(first->session, retry->session);
  EXPECT_EQ(registry_->size(), 1);
  EXPECT_TRUE(absl::IsAlreadyExists(Create("a", "s", absl::ZeroDuration(), "r2").status()));
}

TEST_F(SessionRegistryTest, ARequestIdIsForgottenWithItsSession) {
  const auto first = Create("a", "", absl::ZeroDuration(), "r");
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(registry_->Delete("a", first->id).ok());
  const auto second = Create("a", "", absl::ZeroDuration(), "r");
  ASSERT_TRUE(second.ok());
  EXPECT_NE(first->id, second->id);
}

TEST_F(SessionRegistryTest, ARequestIdInProgressIsRefused) {
  const auto record = registry_->Create("a", "s", {}, "r", [&]() -> absl::StatusOr<std::shared_ptr<Session>> {
    const auto nested = Create("a", "s", absl::ZeroDuration(), "r");
    EXPECT_EQ(ReasonOf(nested.status()), "REQUEST_IN_PROGRESS");
    EXPECT_TRUE(absl::IsNotFound(registry_->Get("a", "s").status())) << "not there before it is finished";
    return engine_->CreateSession({});
  });
  EXPECT_TRUE(record.ok());
}

TEST_F(SessionRegistryTest, AFailedCreationLeavesNothingBehind) {
  const auto failed = registry_->Create("a", "s", {}, "r", []() -> absl::StatusOr<std::shared_ptr<Session>> {
    return absl::ResourceExhaustedError("no bytes");
  });
  EXPECT_EQ(ReasonOf(failed.status()), "MEMORY_BUDGET");
  EXPECT_EQ(registry_->size(), 0);
  EXPECT_TRUE(Create("a", "s", absl::ZeroDuration(), "r").ok());
}

TEST_F(SessionRegistryTest, LimitsHoldPerTenantAndInAll) {
  for (const char* id : {"s1", "s2", "s3"}) ASSERT_TRUE(Create("a", id).ok());
  const auto fourth = Create("a", "s4");
  EXPECT_TRUE(absl::IsResourceExhausted(fourth.status()));
  EXPECT_EQ(ReasonOf(fourth.status()), "SESSION_LIMIT");
  EXPECT_TRUE(Create("b", "s1").ok());
  EXPECT_EQ(ReasonOf(Create("c", "s1").status()), "SESSION_LIMIT");
  ASSERT_TRUE(registry_->Delete("a", "s1").ok());
  EXPECT_TRUE(Create("c", "s1").ok());
}

TEST_F(SessionRegistryTest, ExpiredSessionsMakeRoom) {
  for (const char* id : {"s1", "s2", "s3"}) ASSERT_TRUE(Create("a", id, absl::Minutes(1)).ok());
  now_ += absl::Minutes(1);
  EXPECT_TRUE(Create("a", "s4").ok());
  EXPECT_EQ(registry_->size(), 1);
}

TEST_F(SessionRegistryTest, ExpiresAtItsTtlAfterTheLastUse) {
  ASSERT_TRUE(Create("a", "s", absl::Minutes(10)).ok());
  now_ += absl::Minutes(9);
  ASSERT_TRUE(registry_->Begin("a", "s").ok());  // a use, over at once
  now_ += absl::Minutes(9);
  ASSERT_TRUE(registry_->Get("a", "s").ok()) << "not used for nine minutes only";
  now_ += absl::Minutes(1);
  EXPECT_TRUE(absl::IsNotFound(registry_->Get("a", "s").status())) << "looking at it was no use";
}

TEST_F(SessionRegistryTest, NeverExpiresWithoutTtl) {
  ASSERT_TRUE(Create("a", "s").ok());
  now_ += absl::Hours(24 * 3650);
  EXPECT_TRUE(registry_->Get("a", "s").ok());
}

TEST_F(SessionRegistryTest, DoesNotExpireDuringAUse) {
  ASSERT_TRUE(Create("a", "s", absl::Minutes(1)).ok());
  {
    const auto use = registry_->Begin("a", "s");
    ASSERT_TRUE(use.ok());
    now_ += absl::Hours(1);
    EXPECT_EQ(registry_->RemoveExpired(), 0);
    EXPECT_TRUE(registry_->Get("a", "s").ok());
  }
  EXPECT_EQ(registry_->Get("a", "s")->last_used_time, now_) << "the end of a use counts";
  now_ += absl::Minutes(1);
  EXPECT_EQ(registry_->RemoveExpired(), 1);
}

TEST_F(SessionRegistryTest, RemovedSessionsGiveTheirBytesBack) {
  const int64_t before = engine_->Stats().reserved_bytes;
  ASSERT_TRUE(Create("a", "s", absl::Minutes(1)).ok());
  EXPECT_GT(engine_->Stats().reserved_bytes, before);
  now_ += absl::Minutes(1);
  EXPECT_EQ(registry_->RemoveExpired(), 1);
  EXPECT_EQ(engine_->Stats().reserved_bytes, before);
}

TEST_F(SessionRegistryTest, ASecondUseIsRefusedWhileTheFirstLasts) {
  ASSERT_TRUE(Create("a", "s").ok());
  {
    const auto use = registry_->Begin("a", "s");
    ASSERT_TRUE(use.ok());
    const auto second = registry_->Begin("a", "s");
    EXPECT_TRUE(absl::IsAborted(second.status()));
    EXPECT_EQ(ReasonOf(second.status()), "SESSION_BUSY");
  }
  EXPECT_TRUE(registry_->Begin("a", "s").ok());
}

TEST_F(SessionRegistryTest, ADeletedSessionTellsItsUse) {
  ASSERT_TRUE(Create("a", "s").ok());
  const auto use = registry_->Begin("a", "s");
  ASSERT_TRUE(use.ok());
  EXPECT_FALSE((*use)->deleted());
  ASSERT_TRUE(registry_->Delete("a", "s").ok());
  EXPECT_TRUE((*use)->deleted());
  EXPECT_TRUE(Create("a", "s").ok()) << "the name is free at once";
}

TEST_F(SessionRegistryTest, DeleteTellsTheUseOnceAndNoUseThatEnded) {
  ASSERT_TRUE(Create("a", "s").ok());
  int told = 0;
  {
    const auto ended = registry_->Begin("a", "s");
    ASSERT_TRUE(ended.ok());
    (*ended)->OnDelete([&] { told += 100; });
  }
  const auto use = registry_->Begin("a", "s");
  ASSERT_TRUE(use.ok());
  (*use)->OnDelete([&] { ++told; });
  EXPECT_FALSE(registry_->Begin("a", "s").ok()) << "a refused use takes nothing from the other";
  ASSERT_TRUE(registry_->Delete("a", "s").ok());
  EXPECT_EQ(told, 1);
  (*use)->OnDelete([&] { ++told; });
  EXPECT_EQ(told, 2) << "already deleted";
}

TEST_F(SessionRegistryTest, CountsExpiredSessionsWhoeverFindsThem) {
  for (const char* id : {"s1", "s2", "s3"}) ASSERT_TRUE(Create("a", id, absl::Minutes(1)).ok());
  now_ += absl::Minutes(1);
  EXPECT_TRUE(absl::IsNotFound(registry_->Get("a", "s1").status()));
  EXPECT_TRUE(registry_->List("a", "", 10).empty());
  EXPECT_EQ(registry_->RemoveExpired(), 3);
  EXPECT_EQ(registry_->RemoveExpired(), 0);
}

TEST_F(SessionRegistryTest, ListsInNameOrderFromAnyName) {
  for (const char* id : {"c", "a", "b"}) ASSERT_TRUE(Create("t", id).ok());
  ASSERT_TRUE(Create("u", "aa").ok());
  const auto ids = [&](const std::string& after, int limit) {
    std::vector<std::string> result;
    for (const SessionRecord& record : registry_->List("t", after, limit)) result.push_back(record.id);
    return result;
  };
  EXPECT_EQ(ids("", 10), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(ids("", 2), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(ids("b", 2), (std::vector<std::string>{"c"}));
  EXPECT_EQ(ids("c", 2), std::vector<std::string>());
}

TEST_F(SessionRegistryTest, UpdateChangesTtlAndLabelsAndCountsAsUse) {
  ASSERT_TRUE(Create("a", "s", absl::Minutes(1)).ok());
  now_ += absl::Seconds(30);
  const auto record = registry_->Update("a", "s", absl::Hours(1), Labels{{"line", "3"}});
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->expire_time(), now_ + absl::Hours(1));
  EXPECT_EQ(record->labels.at("line"), "3");
}

}  // namespace
}  // namespace memgate
