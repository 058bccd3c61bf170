// The router: which attention path a request takes, and why. A pure function: no clock, no session, no
// tensor.
#ifndef MEMGATE_ENGINE_ROUTING_ROUTER_H_
#define MEMGATE_ENGINE_ROUTING_ROUTER_H_

#include <cstdint>
#include <string_view>

namespace memgate {

enum class Path { kExact, kGated };
enum class PathPreference { kAuto, kExact, kGated };
enum class MemoryPressure { kNone, kHigh };

enum class RouteReason {
  kFits,               // session + prompt + max_new fit the exact limit
  kExceedsExactLimit,  // they do not
  kSessionFolded,      // an earlier turn folded tokens, which exact attention can no longer see
  kClientPreference,   // the client asked for this path
  kMemoryPressure,     // they would fit, but an ephemeral request may not take that many bytes now
};

// Whether the bytes of the exact path are already reserved (a named session) or would have to be taken now.
enum class Storage { kReserved, kOnDemand };

// Counts are never negative; they may be as large as a client likes (their sum need not fit an int64).
struct RouteInput {
  int64_t session_tokens = 0;  // tokens already in the session
  int64_t prompt_tokens = 0;
  int64_t max_new_tokens = 0;
  int64_t exact_limit_tokens = 0;  // most tokens that the exact path may hold
  bool session_folded = false;     // some tokens of the session were folded already
  Storage storage = Storage::kReserved;
  PathPreference preference = PathPreference::kAuto;
  MemoryPressure pressure = MemoryPressure::kNone;
};

struct RouteDecision {
  Path path = Path::kExact;
  RouteReason reason = RouteReason::kFits;
  // False only for preference kExact where the exact path is impossible; `reason` then says why, and the
  // request must be refused.
  bool possible = true;

  friend bool operator==(const RouteDecision&, const RouteDecision&) = default;
};

// Rules, first match wins:
//   1. the session holds folded tokens            -> gated, kSessionFolded (impossible if exact was asked)
//   2. tokens exceed the exact limit              -> gated, kExceedsExactLimit (impossible if exact was
//   asked)
//   3. the client asked for a path                -> that path, kClientPreference
//   4. bytes on demand while the budget is nearly spent -> gated, kMemoryPressure
//   5. otherwise                                  -> exact, kFits
RouteDecision Route(const RouteInput& input);

std::string_view PathName(Path path);                  // "exact", "gated"
std::string_view RouteReasonName(RouteReason reason);  // "fits", "exceeds_exact_limit", ...

}  // namespace memgate

#endif  // MEMGATE_ENGINE_ROUTING_ROUTER_H_
