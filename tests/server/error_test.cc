#include "server/error.h"

#include <gtest/gtest.h>

#include "engine/scheduling/status_reason.h"

namespace memgate {
namespace {

TEST(ErrorTest, ReadsTheReasonThatTheEngineSet) {
  EXPECT_EQ(ReasonOf(WithReason(absl::AbortedError("x"), "SNAPSHOT_MISMATCH")), "SNAPSHOT_MISMATCH");
}

TEST(ErrorTest, EveryCodeHasAReasonOfItsOwn) {
  for (int code = 1; code <= 16; ++code) {
    EXPECT_FALSE(ReasonOf(absl::Status(static_cast<absl::StatusCode>(code), "x")).empty()) << code;
  }
  EXPECT_EQ(ReasonOf(absl::OkStatus()), "");
}

TEST(ErrorTest, NamesAFieldOnlyWhereTheMessageBeginsWithOne) {
  EXPECT_EQ(FieldOf(FieldError("chat.messages[3].role", "is unknown")), "chat.messages[3].role");
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("the file: bad")), "");
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("no colon")), "");
  EXPECT_EQ(FieldOf(absl::NotFoundError("name: gone")), "");
}

TEST(ErrorTest, PrefixesFieldsAndNothingElse) {
  EXPECT_EQ(FieldOf(WithFieldPrefix(FieldError("top_p", "too big"), "sampling.")), "sampling.top_p");
  EXPECT_EQ(WithFieldPrefix(absl::AbortedError("top_p: x"), "sampling.").message(), "top_p: x");
}

TEST(ErrorTest, DefaultReasonGivesWayToAnExistingOne) {
  const absl::Status named = ErrorWithReason(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "x");
  EXPECT_EQ(ReasonOf(WithDefaultReason(named, absl::StatusCode::kResourceExhausted, "MEMORY_BUDGET")),
            "QUEUE_FULL");
  EXPECT_EQ(ReasonOf(WithDefaultReason(absl::ResourceExhaustedError("x"),
                                       absl::StatusCode::kResourceExhausted, "MEMORY_BUDGET")),
            "MEMORY_BUDGET");
}

TEST(ErrorTest, InvitesARetryOnlyWhereOneHelps) {
  EXPECT_GT(RetryDelayOf(ErrorWithReason(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "x")),
            absl::ZeroDuration());
  EXPECT_GT(RetryDelayOf(absl::UnavailableError("x")), absl::ZeroDuration());
  EXPECT_EQ(RetryDelayOf(absl::ResourceExhaustedError("x")), absl::ZeroDuration());
  EXPECT_EQ(RetryDelayOf(absl::AbortedError("x")), absl::ZeroDuration());
}

}  // namespace
}  // namespace memgate
