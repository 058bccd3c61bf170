// The cache of packed weights as one load uses it: looks, falls back, writes, and reports each. Internal to
// engine/.
#ifndef MEMGATE_ENGINE_WEIGHT_STORE_H_
#define MEMGATE_ENGINE_WEIGHT_STORE_H_

#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

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

  // Fingerprint(tensors), remembered if it can be (checkpoint/fingerprint_memo.h). That it cannot is reported
  // as not written only where weights of `format` are to be cached. Errors as Fingerprint.
  absl::StatusOr<std::string> FingerprintOf(const TensorSource& tensors, WeightFormat format,
                                            absl::Time now) const;

  // The weights as LoadWeights gives them, mapped if they are cached, packed otherwise.
  absl::StatusOr<ModelWeights> Load(const std::string& fingerprint, const ModelConfig& config,
                                    const TensorSource& tensors, WeightFormat format,
                                    absl::FunctionRef<void(int done, int total)> progress) const;

  // Whether Write would write something: weights of a format that is cached, not mapped from the cache.
  bool Wants(const ModelWeights& weights) const;
  // Writes weights that Load packed from `tensors`, unless their files have changed since they were opened.
  // With Write::kBeforeLoaded it waits for other processes as long as the options allow.
  void Write(const std::string& fingerprint, const TensorSource& tensors, const ModelWeights& weights,
             const std::stop_token& stop = {}) const;
  // What an error of Write, or of starting it, looks like.
  void ReportNotWritten(std::string_view what, std::string_view reason,
                        absl::Duration took = absl::ZeroDuration()) const;

 private:
  bool Caches(WeightFormat format) const;

  const WeightCacheOptions options_;
  const WeightCache cache_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_WEIGHT_STORE_H_
