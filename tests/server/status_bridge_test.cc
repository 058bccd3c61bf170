#include "server/status_bridge.h"

#include <gtest/gtest.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/error.h"

namespace memgate {
namespace {

template <typename Detail>
bool FindDetail(const grpc::Status& status, Detail& detail) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return true;
  }
  return false;
}

TEST(StatusBridgeTest, KeepsCodeAndMessage) {
  const grpc::Status status = ToGrpcStatus(absl::NotFoundError("gone"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "gone");
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

TEST(StatusBridgeTest, AttachesReasonAndDomain) {
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(
      FindDetail(ToGrpcStatus(ErrorWithReason(absl::StatusCode::kAborted, "SESSION_BUSY", "busy")), info));
  EXPECT_EQ(info.reason(), "SESSION_BUSY");
  EXPECT_EQ(info.domain(), "memgate");
}

TEST(StatusBridgeTest, AttachesTheFieldViolation) {
  const grpc::Status status = ToGrpcStatus(FieldError("sampling.top_p", "2 is outside (0, 1]"));
  google::rpc::BadRequest bad;
  ASSERT_TRUE(FindDetail(status, bad));
  ASSERT_EQ(bad.field_violations_size(), 1);
  EXPECT_EQ(bad.field_violations(0).field(), "sampling.top_p");
  EXPECT_EQ(bad.field_violations(0).description(), "2 is outside (0, 1]");
}

TEST(StatusBridgeTest, AttachesRetryInfoOnlyWhereARetryHelps) {
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(FindDetail(
      ToGrpcStatus(ErrorWithReason(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "x")), retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_FALSE(FindDetail(ToGrpcStatus(absl::AbortedError("x")), retry));
}

TEST(StatusBridgeTest, ShortensWhatTrailersCannotCarry) {
  std::string message(1023, 'a');
  message += "\xC3\xA4";  // a character of two bytes across the limit
  message += std::string(5000, 'b');
  const grpc::Status status = ToGrpcStatus(absl::InternalError(message));
  EXPECT_EQ(status.error_message(), std::string(1023, 'a') + "...");
  EXPECT_LT(status.error_details().size(), 2000u);
}

TEST(StatusBridgeTest, SpellsCodesAsGrpcDoes) {
  EXPECT_EQ(CodeName(grpc::StatusCode::OK), "OK");
  EXPECT_EQ(CodeName(grpc::StatusCode::ABORTED), "ABORTED");
  EXPECT_EQ(CodeName(grpc::StatusCode::UNAUTHENTICATED), "UNAUTHENTICATED");
  EXPECT_EQ(CodeName(static_cast<grpc::StatusCode>(99)), "UNKNOWN");
}

}  // namespace
}  // namespace memgate
