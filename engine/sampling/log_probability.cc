#include "engine/sampling/log_probability.h"

#include <algorithm>
#include <cmath>

namespace memgate {

double LogProbability(absl::Span<const float> logits, int32_t id) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += std::exp(logit - largest);
  return (logits[id] - largest) - std::log(total);
}

}  // namespace memgate
