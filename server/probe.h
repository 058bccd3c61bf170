// `memgate-server --probe`: asks a running server for its health.
#ifndef MEMGATE_SERVER_PROBE_H_
#define MEMGATE_SERVER_PROBE_H_

#include <string>

#include "absl/status/status.h"
#include "server/options.h"

namespace memgate {

// OK if the server at `address` (empty = the one that `options` would start on this machine) answers
// grpc.health.v1 Check with SERVING within four seconds. Uses TLS if the options do.
absl::Status Probe(const Options& options, const std::string& address);

}  // namespace memgate

#endif  // MEMGATE_SERVER_PROBE_H_
