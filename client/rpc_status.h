// Turns gRPC errors into absl::Status with everything that memgate said about them.
#ifndef MEMGATE_CLIENT_RPC_STATUS_H_
#define MEMGATE_CLIENT_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace memgate {

// The same code; the message is the server's (the code's name if there is none) followed by what its error
// details say: "(SESSION_BUSY)", the fields at fault, and how long to wait. The details stay readable through
// the functions below.
absl::Status ToAbslStatus(const grpc::Status& status);

// The ErrorInfo reason, e.g. "SESSION_BUSY"; empty if the error carries none (it came from the transport).
std::string ErrorReason(const absl::Status& status);

// How long the server asks to wait before trying again; zero if it does not invite a retry.
absl::Duration RetryDelay(const absl::Status& status);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_RPC_STATUS_H_
