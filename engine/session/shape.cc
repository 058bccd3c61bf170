#include "engine/session/shape.h"

#include "engine/base/strings.h"

namespace memgate {
namespace {

absl::Status CheckRange(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat(name, ": ", value, " is outside [", low, ", ", high, "] tokens"));
}

}  // namespace

absl::Status SessionShape::Validate() const {
  if (auto s = CheckRange("sink_tokens", sinks, 0, 4096); !s.ok()) return s;
  if (auto s = CheckRange("window_tokens", window, 1, 1 << 20); !s.ok()) return s;
  if (auto s = CheckRange("segment_tokens", segment, 1, 4096); !s.ok()) return s;
  return CheckRange("salient_tokens", salient, 0, 1 << 20);
}

}  // namespace memgate
