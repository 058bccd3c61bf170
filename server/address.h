// Addresses to listen on: "host:port", "[v6]:port" or "unix:/path".
#ifndef MEMGATE_SERVER_ADDRESS_H_
#define MEMGATE_SERVER_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace memgate {

struct ListenAddress {
  std::string host;       // without brackets; empty for a Unix socket
  int port = 0;           // 0 = the system chooses
  std::string unix_path;  // "/run/memgate.sock"; empty for TCP

  bool is_unix() const { return !unix_path.empty(); }
  // Whether only this machine can connect: a Unix socket, 127.0.0.0/8, ::1 or "localhost".
  bool is_local() const;
  // As gRPC spells it.
  std::string ToString() const;
};

// INVALID_ARGUMENT says what is wrong and what is expected.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

}  // namespace memgate

#endif  // MEMGATE_SERVER_ADDRESS_H_
