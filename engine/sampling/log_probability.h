// Logits -> the probability of one token.
#ifndef MEMGATE_ENGINE_SAMPLING_LOG_PROBABILITY_H_
#define MEMGATE_ENGINE_SAMPLING_LOG_PROBABILITY_H_

#include <cstdint>

#include "absl/types/span.h"

namespace memgate {

// ln softmax(logits)[id], summed in double precision in the order of the ids. logits: [V]; minus infinity
// means impossible. Not finite if logits[id] is not, or any logit is NaN or plus infinity. Thread-safe.
// REQUIRES: 0 <= id < V.
double LogProbability(absl::Span<const float> logits, int32_t id);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SAMPLING_LOG_PROBABILITY_H_
