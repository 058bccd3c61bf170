// The `memgate` kind: salient tokens kept exactly by a learned retention score.
#ifndef MEMGATE_ENGINE_MEMORY_RETENTION_H_
#define MEMGATE_ENGINE_MEMORY_RETENTION_H_

#include <memory>
#include <vector>

#include "engine/memory/memory_kind.h"

namespace memgate {

// The score of a token for KV head g: s_g = u_g . h + b_g, h the layer's normalised input. It depends on
// nothing later, so keeping the best E of a stream is exact.
struct RetentionWeights {
  std::vector<float> weight;  // u: [L, G, C]
  std::vector<float> bias;    // b: [L, G]
};

std::unique_ptr<MemoryKind> MakeRetentionKind(const ModelConfig& config, RetentionWeights weights);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_RETENTION_H_
