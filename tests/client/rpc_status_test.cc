#include "client/rpc_status.h"

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace memgate {
namespace {

grpc::Status WithDetails(grpc::StatusCode code, const std::string& message,
                         const std::vector<const google::protobuf::Message*>& details) {
  google::rpc::Status status;
  for (const auto* detail : details) status.add_details()->PackFrom(*detail);
  return grpc::Status(code, message, status.SerializeAsString());
}

TEST(RpcStatusTest, OkStaysOk) { EXPECT_TRUE(ToAbslStatus(grpc::Status::OK).ok()); }

TEST(RpcStatusTest, AnErrorWithoutAMessageIsNamedByItsCode) {
  EXPECT_EQ(ToAbslStatus(grpc::Status(grpc::StatusCode::INTERNAL, "")).message(), "INTERNAL");
}

TEST(RpcStatusTest, ReasonAndMetadataEndUpInTheMessage) {
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  (*info.mutable_metadata())["limit"] = "256";
  (*info.mutable_metadata())["active"] = "64";
  const absl::Status status =
      ToAbslStatus(WithDetails(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", {&info}));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "the queue is full (QUEUE_FULL, active=64, limit=256)");
  EXPECT_EQ(ErrorReason(status), "QUEUE_FULL");
  EXPECT_EQ(RetryDelay(status), absl::ZeroDuration());
}

TEST(RpcStatusTest, RetryDelayIsReadableByProgramsAndPeople) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  const absl::Status status = ToAbslStatus(WithDetails(grpc::StatusCode::UNAVAILABLE, "draining", {&retry}));
  EXPECT_EQ(RetryDelay(status), absl::Milliseconds(1500));
  EXPECT_EQ(status.message(), "draining (retry in 1.5s)");
  EXPECT_EQ(ErrorReason(status), "");
}

TEST(RpcStatusTest, FieldsAtFaultAreListedUnlessTheMessageHasThem) {
  google::rpc::BadRequest bad;
  for (const auto& [field, description] :
       {std::pair("sampling.top_p", "must be in (0, 1]"), std::pair("max_tokens", "must be positive")}) {
    auto* violation = bad.add_field_violations();
    violation->set_field(field);
    violation->set_description(description);
  }
  const absl::Status status = ToAbslStatus(
      WithDetails(grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_p: must be in (0, 1]", {&bad}));
  EXPECT_EQ(status.message(), "sampling.top_p: must be in (0, 1]; max_tokens: must be positive");
}

TEST(RpcStatusTest, GarbageInTheDetailsIsIgnored) {
  const absl::Status status =
      ToAbslStatus(grpc::Status(grpc::StatusCode::INTERNAL, "broken", "\xff\xff\xff"));
  EXPECT_EQ(status.message(), "broken");
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace memgate
