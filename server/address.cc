#include "server/address.h"

#include <arpa/inet.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace memgate {
namespace {

constexpr absl::string_view kExpected = "expected host:port, [ipv6]:port or unix:/path";
constexpr size_t kMaxUnixPathBytes = 107;  // sun_path without its final zero (unix(7))

}  // namespace

bool ListenAddress::is_local() const {
  if (is_unix() || host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string ListenAddress::ToString() const {
  if (is_unix()) return absl::StrCat("unix:", unix_path);
  if (absl::StrContains(host, ':')) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  ListenAddress address;
  if (text.substr(0, 5) == "unix:") {
    address.unix_path = std::string(text.substr(5));
    if (address.unix_path.empty() || address.unix_path.front() != '/') {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" needs an absolute path after unix:, e.g. unix:/run/memgate.sock"));
    }
    if (address.unix_path.size() > kMaxUnixPathBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is longer than a socket path may be (", kMaxUnixPathBytes, " bytes)"));
    }
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" has no port; ", kExpected));
  }
  absl::string_view host = text.substr(0, colon);
  const absl::string_view port = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": an IPv6 address goes in brackets, e.g. [::1]:50061"));
  }
  if (host.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" names no host; 127.0.0.1", text.substr(colon),
                     " listens for this machine only, 0.0.0.0", text.substr(colon), " for every network"));
  }
  if (!absl::SimpleAtoi(port, &address.port) || address.port < 0 || address.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": the port must be a number from 0 (the system chooses) to 65535"));
  }
  address.host = std::string(host);
  return address;
}

}  // namespace memgate
