#include "server/memory_limit.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace memgate {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

struct Unit {
  absl::string_view name;
  double bytes;
};
constexpr Unit kUnits[] = {{"B", 1}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};

// A file with one number; "max", a missing file and cgroup v1's "unlimited" (close to 2^63) mean no limit.
int64_t ReadLimit(const std::filesystem::path& file) {
  std::ifstream in(file);
  int64_t value = 0;
  if (!(in >> value) || value <= 0 || value > (int64_t{1} << 60)) return kNoLimit;
  return value;
}

// A limit on a parent holds for its children, so every level up to the mount counts. In a container with its
// own cgroup namespace the path is "/" and the mount itself carries the limit.
int64_t SmallestLimitUpwards(const std::filesystem::path& mount, absl::string_view group,
                             const std::string& file) {
  int64_t limit = ReadLimit(mount / file);
  std::filesystem::path level = mount;
  for (const auto& part : std::filesystem::path(std::string(group)).relative_path()) {
    level /= part;
    limit = std::min(limit, ReadLimit(level / file));
  }
  return limit;
}

int64_t CgroupLimit(const std::string& root) {
  std::ifstream in(root + "/proc/self/cgroup");
  int64_t limit = kNoLimit;
  for (std::string line; std::getline(in, line);) {
    // "0::/system.slice/memgate.service" (v2) or "9:memory:/docker/..." (v1).
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      limit = std::min(limit, SmallestLimitUpwards(root + "/sys/fs/cgroup", group, "memory.max"));
    } else if (controllers == "memory") {
      limit = std::min(limit,
                       SmallestLimitUpwards(root + "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
  }
  return limit;
}

int64_t MachineMemory(const std::string& root) {
  std::ifstream in(root + "/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string key;
    int64_t kib = 0;
    if (fields >> key >> kib && key == "MemTotal:") return kib * 1024;
  }
  return kNoLimit;
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  const size_t unit_at = std::min(text.find_first_not_of("0123456789."), text.size());
  double number = 0;
  const absl::string_view unit = text.substr(unit_at);
  if (absl::SimpleAtod(text.substr(0, unit_at), &number)) {
    for (const Unit& known : kUnits) {
      if (unit != known.name && !(unit.empty() && known.bytes == 1)) continue;
      const double bytes = number * known.bytes;
      if (bytes > 0x1p62) break;
      return static_cast<int64_t>(std::llround(bytes));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not a size; write a number and B, KiB, MiB, GiB or TiB, e.g. 512MiB"));
}

std::string FormatBytes(int64_t bytes) {
  const Unit* unit = &kUnits[0];
  for (const Unit& candidate : kUnits) {
    if (static_cast<double>(bytes) >= candidate.bytes) unit = &candidate;
  }
  if (unit == &kUnits[0]) return absl::StrCat(bytes, " B");
  return absl::StrFormat("%.1f %s", static_cast<double>(bytes) / unit->bytes, std::string(unit->name));
}

int64_t AvailableMemoryBytes(const std::string& root) {
  const int64_t limit = std::min(CgroupLimit(root), MachineMemory(root));
  return limit == kNoLimit ? 0 : limit;
}

}  // namespace memgate
