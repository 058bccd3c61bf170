#include "client/message_json.h"

#include <gtest/gtest.h>

#include "memgate/v1/inference.pb.h"
#include "memgate/v1/session.pb.h"

namespace memgate {
namespace {

TEST(MessageJsonTest, NumbersStayNumbersAndEnumsLoseTheirPrefix) {
  v1::RouteInfo route;
  route.set_path(v1::PATH_GATED);
  route.set_reason(v1::ROUTE_REASON_EXCEEDS_EXACT_LIMIT);
  route.set_full_kv_bytes(int64_t{1} << 40);
  const auto json = ToJson(route);
  EXPECT_EQ(json["path"], "gated");
  EXPECT_EQ(json["reason"], "exceeds_exact_limit");
  EXPECT_EQ(json["full_kv_bytes"], int64_t{1} << 40);
  EXPECT_EQ(json["prompt_tokens"], 0) << "scalars are there even when they are zero";
  EXPECT_FALSE(json.contains("accounting")) << "messages that were not set are not";
}

TEST(MessageJsonTest, TimesDurationsAndMapsReadNaturally) {
  v1::Session session;
  session.mutable_create_time()->set_seconds(1'700'000'000);
  session.mutable_create_time()->set_nanos(500'000'000);
  session.mutable_ttl()->set_seconds(90);
  (*session.mutable_labels())["site"] = "north";
  const auto json = ToJson(session);
  EXPECT_EQ(json["create_time"], "2023-11-14T22:13:20.5+00:00");
  EXPECT_EQ(json["ttl"], 90.0);
  EXPECT_EQ(json["labels"]["site"], "north");
}

TEST(MessageJsonTest, BytesAreBase64AndListsAreArrays) {
  v1::TokenLogprobs logprobs;
  logprobs.mutable_chosen()->set_token_bytes("\xff\x00", 2);
  logprobs.add_top()->set_token_id(7);
  const auto json = ToJson(logprobs);
  EXPECT_EQ(json["chosen"]["token_bytes"], "/wA=");
  ASSERT_EQ(json["top"].size(), 1u);
  EXPECT_EQ(json["top"][0]["token_id"], 7);
}

TEST(MessageJsonTest, OptionalFieldsAppearOnceSet) {
  v1::SamplingOptions sampling;
  EXPECT_FALSE(ToJson(sampling).contains("temperature"));
  sampling.set_temperature(0);
  (*sampling.mutable_logit_bias())[5] = 1.5f;
  const auto json = ToJson(sampling);
  EXPECT_EQ(json["temperature"], 0.0);
  EXPECT_EQ(json["logit_bias"]["5"], 1.5);
}

TEST(MessageJsonTest, EnumValuesUnknownToThisBuildPrintTheirNumber) {
  EXPECT_EQ(EnumLabel(v1::PATH_UNSPECIFIED), "unspecified");
  EXPECT_EQ(EnumLabel(static_cast<v1::Path>(99)), "99");
}

TEST(MessageJsonTest, InvalidUtf8IsReplacedAndNeverThrows) {
  EXPECT_EQ(Dump({{"text", "a\xff"}}), "{\"text\":\"a\xEF\xBF\xBD\"}");
}

}  // namespace
}  // namespace memgate
