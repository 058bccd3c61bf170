#include "client/rpc_status.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace memgate {
namespace {

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

template <typename Message>
std::optional<Message> Payload(const absl::Status& status, const char* url) {
  const absl::optional<absl::Cord> payload = status.GetPayload(url);
  Message message;
  if (!payload.has_value() || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

std::string Describe(const google::rpc::ErrorInfo& info) {
  std::vector<std::string> parts = {info.reason()};
  for (const auto& [key, value] : info.metadata()) parts.push_back(absl::StrCat(key, "=", value));
  // Protobuf maps have no order; readers and tests want one.
  std::sort(parts.begin() + 1, parts.end());
  return absl::StrJoin(parts, ", ");
}

}  // namespace

absl::Status ToAbslStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  details.ParseFromString(status.error_details());

  // The numeric values of the canonical codes are the same on both sides.
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  // An error without a message still has to say something.
  std::string message =
      status.error_message().empty() ? absl::StatusCodeToString(code) : status.error_message();
  std::vector<std::string> notes;
  std::optional<google::rpc::ErrorInfo> error_info;
  std::optional<google::rpc::RetryInfo> retry_info;
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    google::rpc::BadRequest bad;
    if (detail.UnpackTo(&info)) {
      error_info = info;
      notes.push_back(Describe(info));
    } else if (detail.UnpackTo(&retry)) {
      retry_info = retry;
      notes.push_back(absl::StrCat("retry in ", absl::FormatDuration(ToDuration(retry.retry_delay()))));
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& violation : bad.field_violations()) {
        const std::string text = absl::StrCat(violation.field(), ": ", violation.description());
        // Servers often repeat the first violation in the message.
        if (message.find(violation.description()) == std::string::npos) absl::StrAppend(&message, "; ", text);
      }
    }
  }
  if (!notes.empty()) absl::StrAppend(&message, " (", absl::StrJoin(notes, "; "), ")");

  absl::Status result(code, message);
  if (error_info) result.SetPayload(kErrorInfoUrl, absl::Cord(error_info->SerializeAsString()));
  if (retry_info) result.SetPayload(kRetryInfoUrl, absl::Cord(retry_info->SerializeAsString()));
  return result;
}

std::string ErrorReason(const absl::Status& status) {
  const auto info = Payload<google::rpc::ErrorInfo>(status, kErrorInfoUrl);
  return info ? info->reason() : "";
}

absl::Duration RetryDelay(const absl::Status& status) {
  const auto info = Payload<google::rpc::RetryInfo>(status, kRetryInfoUrl);
  return info ? ToDuration(info->retry_delay()) : absl::ZeroDuration();
}

}  // namespace memgate
