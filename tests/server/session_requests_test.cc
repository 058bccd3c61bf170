#include "server/session_requests.h"

#include <gtest/gtest.h>

#include <string>

#include "server/error.h"

namespace memgate {
namespace {

TEST(SessionNameTest, FollowsTheRuleOfTheApi) {
  for (const std::string& id :
       {std::string("a"), std::string("7"), std::string("pump-3"), std::string(63, 'x')}) {
    const auto parsed = ParseSessionName("name", "sessions/" + id);
    ASSERT_TRUE(parsed.ok()) << id;
    EXPECT_EQ(*parsed, id);
    EXPECT_TRUE(CheckSessionId("session_id", id).ok());
  }
  for (const std::string& id : {std::string("-a"), std::string("a-"), std::string("A"), std::string("a b"),
                                std::string("a/b"), std::string("\xc3\xa4"), std::string(64, 'x')}) {
    EXPECT_EQ(FieldOf(ParseSessionName("name", "sessions/" + id).status()), "name") << id;
    EXPECT_EQ(FieldOf(CheckSessionId("session_id", id)), "session_id") << id;
  }
  EXPECT_FALSE(ParseSessionName("name", "a").ok());
  EXPECT_FALSE(ParseSessionName("name", "sessions/").ok());
  EXPECT_TRUE(CheckSessionId("session_id", "").ok());
}

TEST(SettingsTest, DefaultTtlAppliesOnlyWhereNoneIsGiven) {
  v1::Session session;
  EXPECT_EQ(ReadSettings(session, absl::Hours(1))->ttl, absl::Hours(1));
  session.mutable_ttl();  // 0 = never
  EXPECT_EQ(ReadSettings(session, absl::Hours(1))->ttl, absl::ZeroDuration());
  session.mutable_ttl()->set_seconds(5);
  session.mutable_ttl()->set_nanos(500'000'000);
  EXPECT_EQ(ReadSettings(session, absl::Hours(1))->ttl, absl::Milliseconds(5500));
  session.mutable_ttl()->set_seconds(3650 * 86'400);
  session.mutable_ttl()->set_nanos(0);
  EXPECT_TRUE(ReadSettings(session, absl::Hours(1)).ok());
}

TEST(SettingsTest, RejectsNegativeAndImpossibleTtl) {
  for (const auto& [seconds, nanos] : {std::pair<int64_t, int>{-1, 0},
                                       {0, -1},
                                       {0, 1'000'000'000},
                                       {3650 * 86'400, 1},
                                       {400'000'000'000, 0}}) {
    v1::Session session;
    session.mutable_ttl()->set_seconds(seconds);
    session.mutable_ttl()->set_nanos(nanos);
    EXPECT_EQ(FieldOf(ReadSettings(session, absl::Hours(1)).status()), "session.ttl")
        << seconds << " " << nanos;
  }
}

TEST(SettingsTest, RejectsTooManyOrTooLongLabels) {
  v1::Session many;
  for (int i = 0; i < 17; ++i) (*many.mutable_labels())["k" + std::to_string(i)] = "v";
  EXPECT_EQ(FieldOf(ReadSettings(many, absl::Hours(1)).status()), "session.labels");
  v1::Session longer;
  (*longer.mutable_labels())["key"] = std::string(64, 'v');
  EXPECT_EQ(FieldOf(ReadSettings(longer, absl::Hours(1)).status()), "session.labels");
}

TEST(SessionOptionsTest, WhatIsAbsentMeansTheModelsDefault) {
  v1::CreateSessionRequest request;
  request.mutable_session()->mutable_shape()->set_window_tokens(32);
  request.mutable_session()->mutable_shape()->set_segment_tokens(0);
  const auto options = ReadSessionOptions(request);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->window, 32);
  EXPECT_FALSE(options->sinks.has_value());
  EXPECT_FALSE(options->segment.has_value());
  EXPECT_FALSE(options->salient.has_value());
}

TEST(SessionOptionsTest, NoSinksAndNoSlotsCanBeAskedFor) {
  v1::CreateSessionRequest request;
  request.mutable_session()->mutable_shape()->set_sink_tokens(0);
  request.mutable_session()->mutable_shape()->set_salient_tokens(0);
  const auto options = ReadSessionOptions(request);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->sinks, 0);
  EXPECT_EQ(options->salient, 0);
}

TEST(SessionOptionsTest, RejectsNegativeSizesAndTwoWaysToChooseTheWindow) {
  v1::CreateSessionRequest negative;
  negative.mutable_session()->mutable_shape()->set_segment_tokens(-1);
  EXPECT_EQ(FieldOf(ReadSessionOptions(negative).status()), "session.shape.segment_tokens");
  v1::CreateSessionRequest both;
  both.mutable_session()->mutable_shape()->set_window_tokens(8);
  both.set_max_session_bytes(1 << 20);
  EXPECT_EQ(FieldOf(ReadSessionOptions(both).status()), "session.shape.window_tokens");
  v1::CreateSessionRequest bytes;
  bytes.set_max_session_bytes(-1);
  EXPECT_EQ(FieldOf(ReadSessionOptions(bytes).status()), "max_session_bytes");
}

TEST(UpdateTest, ChangesOnlyWhatTheMaskNames) {
  v1::UpdateSessionRequest request;
  request.mutable_session()->mutable_ttl()->set_seconds(9);
  request.mutable_update_mask()->add_paths("ttl");
  const auto update = ReadUpdate(request, absl::Hours(1));
  ASSERT_TRUE(update.ok());
  EXPECT_EQ(update->ttl, absl::Seconds(9));
  EXPECT_FALSE(update->labels.has_value());
}

TEST(UpdateTest, NeedsAMaskOfKnownPaths) {
  v1::UpdateSessionRequest request;
  EXPECT_EQ(FieldOf(ReadUpdate(request, absl::Hours(1)).status()), "update_mask");
  request.mutable_update_mask()->add_paths("memory_kind");
  EXPECT_EQ(FieldOf(ReadUpdate(request, absl::Hours(1)).status()), "update_mask");
}

TEST(PageTest, TokensLeadToTheNextSession) {
  v1::ListSessionsRequest request;
  request.set_page_token(PageToken("pump-3"));
  const auto page = ReadPage(request);
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->after, "pump-3");
  EXPECT_EQ(page->size, 100);
}

TEST(PageTest, LowersLargeSizesAndRejectsNegativeOnes) {
  v1::ListSessionsRequest request;
  request.set_page_size(5000);
  EXPECT_EQ(ReadPage(request)->size, 1000);
  request.set_page_size(-1);
  EXPECT_EQ(FieldOf(ReadPage(request).status()), "page_size");
}

TEST(PageTest, RejectsTokensItDidNotGiveOut) {
  for (const char* token : {"x", "????", "YWZ0ZXI6", "cHVtcA"}) {
    v1::ListSessionsRequest request;
    request.set_page_token(token);
    EXPECT_EQ(FieldOf(ReadPage(request).status()), "page_token") << token;
  }
}

TEST(RequestIdTest, HasALengthLimit) {
  EXPECT_TRUE(CheckRequestId(std::string(128, 'r')).ok());
  EXPECT_EQ(FieldOf(CheckRequestId(std::string(129, 'r'))), "request_id");
}

}  // namespace
}  // namespace memgate
