#include "engine/kernels/usable_cores.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/strings.h"

namespace memgate {
namespace {

int AffinityCores() {
  // Room for a mask of 8,192 cores, the most that Linux knows.
  cpu_set_t sets[8];
  if (sched_getaffinity(0, sizeof(sets), sets) != 0)
    return static_cast<int>(std::thread::hardware_concurrency());
  return CPU_COUNT_S(sizeof(sets), sets);
}

// The quota of the process's own group. In a container the group is the root of what can be seen.
std::optional<int> OwnQuotaCores() {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    absl::string_view path = line;
    if (!absl::ConsumePrefix(&path, "0::")) continue;
    std::ifstream file("/sys/fs/cgroup" + std::string(path) + "/cpu.max");
    std::string text;
    if (std::getline(file, text)) return QuotaCores(text);
  }
  return std::nullopt;
}

}  // namespace

std::optional<int> QuotaCores(std::string_view cpu_max) {
  const std::vector<std::string> words = absl::StrSplit(ToAbsl(cpu_max), ' ');
  int64_t quota = 0, period = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[0], &quota) || !absl::SimpleAtoi(words[1], &period) ||
      quota <= 0 || period <= 0) {
    return std::nullopt;
  }
  return static_cast<int>(std::min<int64_t>((quota - 1) / period + 1, CPU_SETSIZE));
}

int UsableCores() {
  const int cores = std::max(1, AffinityCores());
  return std::min(cores, OwnQuotaCores().value_or(cores));
}

}  // namespace memgate
