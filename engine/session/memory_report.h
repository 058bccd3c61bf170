// What a session's memory looks like from outside: numbers and positions, never text and never token ids.
#ifndef MEMGATE_ENGINE_SESSION_MEMORY_REPORT_H_
#define MEMGATE_ENGINE_SESSION_MEMORY_REPORT_H_

#include <cstdint>
#include <vector>

#include "engine/session/session_state.h"
#include "engine/session/shape.h"

namespace memgate {

// What the salient slots of one KV head hold. Scores are retention scores; one that is not a number counts as
// the lowest.
struct SalientReport {
  int count = 0;  // slots in use; all below are 0 while there are none
  int64_t oldest_position = 0;
  int64_t newest_position = 0;
  float lowest_score = 0;
  float median_score = 0;  // of an even number of scores the lower middle one
  float highest_score = 0;
  std::vector<int64_t> positions;  // [count], ascending; empty unless asked for
};

// All empty for a local layer (LayerView).
struct LayerReport {
  std::vector<float> gates;            // [H], MemoryKind::Gates; empty if the kind has none
  std::vector<float> memory_norms;     // [G], Frobenius norm of each KV head's state; empty without a state
  std::vector<SalientReport> salient;  // [G]; empty without slots
};

struct MemoryReport {
  TokenAccounting accounting;
  int64_t memory_writes = 0;  // folding events
  std::vector<LayerReport> layers;
};

enum class RetainedPositions { kOmit, kList };

// Reads the state and changes nothing. `pending` as in SessionState::Accounting.
MemoryReport ReportMemory(SessionState& state, int pending, RetainedPositions positions);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SESSION_MEMORY_REPORT_H_
