#include "engine/routing/router.h"

namespace memgate {
namespace {

// Subtracts instead of adding: a sum of three client-chosen counts could overflow.
bool FitsExactLimit(const RouteInput& input) {
  if (input.session_tokens > input.exact_limit_tokens) return false;
  const int64_t left = input.exact_limit_tokens - input.session_tokens;
  if (input.prompt_tokens > left) return false;
  return input.max_new_tokens <= left - input.prompt_tokens;
}

}  // namespace

RouteDecision Route(const RouteInput& input) {
  const bool exact_asked = input.preference == PathPreference::kExact;
  if (input.session_folded) {
    return {Path::kGated, RouteReason::kSessionFolded, /*possible=*/!exact_asked};
  }
  if (!FitsExactLimit(input)) {
    return {Path::kGated, RouteReason::kExceedsExactLimit, /*possible=*/!exact_asked};
  }
  if (exact_asked) return {Path::kExact, RouteReason::kClientPreference};
  if (input.preference == PathPreference::kGated) return {Path::kGated, RouteReason::kClientPreference};
  if (input.storage == Storage::kOnDemand && input.pressure == MemoryPressure::kHigh) {
    return {Path::kGated, RouteReason::kMemoryPressure};
  }
  return {Path::kExact, RouteReason::kFits};
}

std::string_view PathName(Path path) {
  switch (path) {
    case Path::kExact:
      return "exact";
    case Path::kGated:
      return "gated";
  }
  return "unknown";
}

std::string_view RouteReasonName(RouteReason reason) {
  switch (reason) {
    case RouteReason::kFits:
      return "fits";
    case RouteReason::kExceedsExactLimit:
      return "exceeds_exact_limit";
    case RouteReason::kSessionFolded:
      return "session_folded";
    case RouteReason::kClientPreference:
      return "client_preference";
    case RouteReason::kMemoryPressure:
      return "memory_pressure";
  }
  return "unknown";
}

}  // namespace memgate
