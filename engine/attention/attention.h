// Attention of one chunk of tokens over one session: exact while nothing was folded, gated from then on.
#ifndef MEMGATE_ENGINE_ATTENTION_ATTENTION_H_
#define MEMGATE_ENGINE_ATTENTION_ATTENTION_H_

#include "engine/session/session_state.h"

namespace memgate {

// T consecutive tokens of one session in one layer; their place was made by SessionState::Prepare.
struct AttentionChunk {
  SessionState* session = nullptr;
  int layer = 0;
  int tokens = 0;                      // T
  const float* queries = nullptr;      // [T, H, D], not rotated
  const float* keys = nullptr;         // [T, G, D], not rotated
  const float* values = nullptr;       // [T, G, D]
  int64_t row_stride = 0;              // floats from one token's queries, keys or values to the next one's
  const float* layer_input = nullptr;  // [T, C], after the input RMSNorm
  const float* angles = nullptr;       // [T, D]: Angles of each token's position by the layer's rope
  const float* far_angles = nullptr;   // [D]: those of the far distance
};

// Stores the chunk's keys, values and features in the session, then writes the layer's attention output
// before the output projection. out: [T, H, D]. REQUIRES: the chunk lies between two folds.
void AttendChunk(const AttentionChunk& chunk, float* out);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_ATTENTION_ATTENTION_H_
