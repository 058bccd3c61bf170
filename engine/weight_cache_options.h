// How an engine uses the cache of packed weights (docs/operations.md, "Weight cache").
#ifndef MEMGATE_ENGINE_WEIGHT_CACHE_OPTIONS_H_
#define MEMGATE_ENGINE_WEIGHT_CACHE_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"

namespace memgate {

// What became of a look into the cache, or of a write. None of it is an error of the load.
struct WeightCacheEvent {
  enum class Outcome {
    kHit,
    kMiss,
    kWritten,
    kAlreadyWritten,  // by another process, in the meantime
    kNotWritten,
  };

  std::string what;  // "fingerprint" or "weights"
  Outcome outcome = Outcome::kMiss;
  std::string reason;  // of kMiss and kNotWritten
  absl::Duration took;
};

struct WeightCacheOptions {
  enum class Write {
    kInBackground,  // while the engine already serves; given up when it is destroyed
    kBeforeLoaded,  // Engine::Load returns when the file is in place
  };

  std::string folder;  // empty = no cache; made when it is first written
  int64_t max_bytes = int64_t{16} << 30;
  Write write = Write::kInBackground;
  // How long kBeforeLoaded waits while another process writes; then it loads without having written.
  absl::Duration longest_wait = absl::Seconds(10);
  // Called by Engine::Load, and in the background by one thread until the engine is destroyed.
  std::function<void(const WeightCacheEvent&)> report = [](const WeightCacheEvent&) {};
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_WEIGHT_CACHE_OPTIONS_H_
