// Reasons: the upper-snake-case words that travel with an absl::Status and end up in google.rpc.ErrorInfo.
#ifndef MEMGATE_SERVER_ERROR_H_
#define MEMGATE_SERVER_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace memgate {

// Payload of an absl::Status that carries its reason. The engine sets the same one.
inline constexpr absl::string_view kReasonPayloadUrl = "memgate/reason";

// A status with a reason.
absl::Status ErrorWithReason(absl::StatusCode code, absl::string_view reason, absl::string_view message);

// INVALID_ARGUMENT "field: description", the form from which BadRequest is made. `field` is the path of a
// request field, e.g. "sampling.top_p".
absl::Status FieldError(absl::string_view field, absl::string_view description);

// Prepends `prefix` (e.g. "session.shape.") to an INVALID_ARGUMENT message of the form "field: description".
// Other statuses, reasons and messages are returned as they are.
absl::Status WithFieldPrefix(const absl::Status& status, absl::string_view prefix);

// The field named by a message of the form "field: description"; empty if the message has another form.
absl::string_view FieldOf(const absl::Status& status);

// `status` with `reason` if it has code `code` and names no reason yet; else `status` as it is.
absl::Status WithDefaultReason(absl::Status status, absl::StatusCode code, absl::string_view reason);

// The reason of an error: its payload, else the one reason that its code stands for. Empty for OK.
std::string ReasonOf(const absl::Status& status);

// How long a client should wait before it tries again; zero where a retry does not help.
absl::Duration RetryDelayOf(const absl::Status& status);

}  // namespace memgate

#endif  // MEMGATE_SERVER_ERROR_H_
