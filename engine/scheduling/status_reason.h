// Machine-readable reasons on statuses. The server copies them into google.rpc.ErrorInfo.
#ifndef MEMGATE_ENGINE_SCHEDULING_STATUS_REASON_H_
#define MEMGATE_ENGINE_SCHEDULING_STATUS_REASON_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/cord.h"

namespace memgate {

// Type URL of the payload that holds the reason, in upper snake case ("SESSION_BUSY").
inline constexpr std::string_view kReasonPayload = "memgate/reason";

inline absl::Status WithReason(absl::Status status, std::string_view reason) {
  status.SetPayload(absl::string_view(kReasonPayload.data(), kReasonPayload.size()),
                    absl::Cord(absl::string_view(reason.data(), reason.size())));
  return status;
}

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SCHEDULING_STATUS_REASON_H_
