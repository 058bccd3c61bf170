// The cache of packed weights as one load uses it: looks, falls back, writes, and reports each. Internal to
// engine/.
#ifndef MEMGATE_ENGINE_WEIGHT_STORE_H_
#define MEMGATE_ENGINE_WEIGHT_STORE_H_

#include <optional>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/tensor.h"
#include "engine/checkpoint/weight_cache.h"
#include "engine/kernels/weight_format.h"
#include "engine/model/weights.h"
#include "engine/weight_cache_options.h"

namespace memgate {

// Thread-safe.
class WeightStore {
 public:
  explicit WeightStore(WeightCacheOptions options);

  // Fingerprint(tensors), remembered if it can be (checkpoint/fingerprint_memo.h). Errors as Fingerprint.
  absl::StatusOr<std::string> FingerprintOf(const TensorSource& tensors, absl::Time now) const;

  // The weights as LoadWeights gives them, mapped if they are cached, packed otherwise.
  absl::StatusOr<ModelWeights> Load(const std::string& fingerprint, const ModelConfig& config,
                                    const TensorSource& tensors, WeightFormat format,
                                    absl::FunctionRef<void(int done, int total)> progress) const;

  // Whether Write would write something: weights of a format that is cached, not mapped from the cache.
  bool Wants(const ModelWeights& weights) const;
  void Write(const std::string& fingerprint, const ModelWeights& weights, std::stop_token stop = {}) const;

 private:
  const WeightCacheOptions options_;
  const WeightCache cache_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_WEIGHT_STORE_H_
