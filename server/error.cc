#include "server/error.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace memgate {
namespace {

// Reasons that go away by themselves, with the time after which that is likely: a place in the queue frees up
// with every finished turn, bytes and session names only when a session ends.
struct RetryRule {
  absl::string_view reason;
  absl::Duration delay;
};

constexpr RetryRule kRetryRules[] = {
    {"QUEUE_FULL", absl::Seconds(1)},
    {"MEMORY_BUDGET", absl::Seconds(5)},
    {"SESSION_LIMIT", absl::Seconds(5)},
    {"DRAINING", absl::Seconds(2)},
};

absl::string_view DefaultReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "";
    case absl::StatusCode::kCancelled:
      return "CANCELLED";
    case absl::StatusCode::kInvalidArgument:
      return "INVALID_FIELD";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kNotFound:
      return "SESSION_NOT_FOUND";
    case absl::StatusCode::kAlreadyExists:
      return "SESSION_EXISTS";
    case absl::StatusCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case absl::StatusCode::kResourceExhausted:
      return "RESOURCE_LIMIT";
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kAborted:
      return "SESSION_BUSY";
    case absl::StatusCode::kOutOfRange:
      return "OUT_OF_RANGE";
    case absl::StatusCode::kUnimplemented:
      return "UNIMPLEMENTED";
    case absl::StatusCode::kUnavailable:
      return "DRAINING";
    case absl::StatusCode::kUnauthenticated:
      return "CREDENTIALS_INVALID";
    default:
      return "INTERNAL";
  }
}

bool IsFieldCharacter(char c) {
  return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '.' || c == '[' || c == ']';
}

}  // namespace

absl::Status ErrorWithReason(absl::StatusCode code, absl::string_view reason, absl::string_view message) {
  absl::Status status(code, message);
  status.SetPayload(kReasonPayloadUrl, absl::Cord(reason));
  return status;
}

absl::Status FieldError(absl::string_view field, absl::string_view description) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", description));
}

absl::string_view FieldOf(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kInvalidArgument) return "";
  const absl::string_view message = status.message();
  const size_t colon = message.find(": ");
  if (colon == absl::string_view::npos || colon == 0) return "";
  const absl::string_view field = message.substr(0, colon);
  return std::all_of(field.begin(), field.end(), IsFieldCharacter) ? field : "";
}

absl::Status WithFieldPrefix(const absl::Status& status, absl::string_view prefix) {
  if (FieldOf(status).empty()) return status;
  absl::Status prefixed(status.code(), absl::StrCat(prefix, status.message()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& value) { prefixed.SetPayload(url, value); });
  return prefixed;
}

absl::Status WithDefaultReason(absl::Status status, absl::StatusCode code, absl::string_view reason) {
  if (status.code() == code && !status.GetPayload(kReasonPayloadUrl)) {
    status.SetPayload(kReasonPayloadUrl, absl::Cord(reason));
  }
  return status;
}

std::string ReasonOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kReasonPayloadUrl)) {
    return std::string(*payload);
  }
  return std::string(DefaultReason(status.code()));
}

absl::Duration RetryDelayOf(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kResourceExhausted &&
      status.code() != absl::StatusCode::kUnavailable) {
    return absl::ZeroDuration();
  }
  const std::string reason = ReasonOf(status);
  for (const RetryRule& rule : kRetryRules) {
    if (reason == rule.reason) return rule.delay;
  }
  return absl::ZeroDuration();
}

}  // namespace memgate
