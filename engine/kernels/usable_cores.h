// How many cores this process may use.
#ifndef MEMGATE_ENGINE_KERNELS_USABLE_CORES_H_
#define MEMGATE_ENGINE_KERNELS_USABLE_CORES_H_

#include <optional>
#include <string_view>

namespace memgate {

// The cores of the calling thread's affinity mask, no more than the CPU quota of its control group (version
// 2) allows, rounded up; at least 1.
int UsableCores();

// Cores of a quota as the kernel writes it to cpu.max: "$MAX $PERIOD" in microseconds. None where $MAX is
// "max" or the text is something else.
std::optional<int> QuotaCores(std::string_view cpu_max);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_USABLE_CORES_H_
