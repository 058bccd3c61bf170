// The one place where an absl::Status becomes a grpc::Status.
#ifndef MEMGATE_SERVER_STATUS_BRIDGE_H_
#define MEMGATE_SERVER_STATUS_BRIDGE_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace memgate {

// Keeps code and message and attaches google.rpc.Status details: ErrorInfo (reason, domain "memgate", and the
// field if one is named), BadRequest where the message names a field, RetryInfo where a retry helps.
grpc::Status ToGrpcStatus(const absl::Status& status);

// "OK", "INVALID_ARGUMENT", ...: the code's name as metrics and logs spell it.
absl::string_view CodeName(grpc::StatusCode code);

}  // namespace memgate

#endif  // MEMGATE_SERVER_STATUS_BRIDGE_H_
