// The `memgate-untrained` kind: salient slots for what a small associative memory cannot predict. Needs no
// module.
#ifndef MEMGATE_ENGINE_MEMORY_SELF_RECALL_H_
#define MEMGATE_ENGINE_MEMORY_SELF_RECALL_H_

#include <memory>

#include "engine/memory/memory_kind.h"

namespace memgate {

// A matrix M [2D, D] per KV head learns, by the delta rule, the value that goes with a key; a token's score
// is how far it is off when the token leaves the window (self-recall error, as in LoLA, arXiv 2505.23666):
//   score  s = |v - phi(k)^T M|^2                                  M as it was before the token's segment
//   write  M <- M + phi(k) (1/10 (v - phi(k)^T M))^T               tokens without a slot, one after another
// phi: SignedMap of the un-rotated key, scale 1, shift 0. The error is absolute: with |v|^2 under it, what
// matters is lost among small values that cannot be predicted either (docs/memory.md). No query reads M,
// since nobody taught the model to; what has no slot is forgotten.
std::unique_ptr<MemoryKind> MakeSelfRecallKind(const ModelConfig& config);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_SELF_RECALL_H_
