// How much memory this process may use, by cgroup or machine.
#ifndef MEMGATE_SERVER_MEMORY_LIMIT_H_
#define MEMGATE_SERVER_MEMORY_LIMIT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace memgate {

// "512MiB", "2GiB", "1.5GiB", "800000000". Binary units B, KiB, MiB, GiB, TiB. INVALID_ARGUMENT otherwise.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);

// "1.5 GiB", for messages and logs.
std::string FormatBytes(int64_t bytes);

// The smallest of: the limits of this process's cgroup and all its parents (v2 memory.max, v1
// memory.limit_in_bytes) and the machine's MemTotal. `root` is prepended to /proc and /sys. 0 if nothing is
// readable. Unit: bytes.
int64_t AvailableMemoryBytes(const std::string& root = "");

}  // namespace memgate

#endif  // MEMGATE_SERVER_MEMORY_LIMIT_H_
