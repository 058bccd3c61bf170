// What operators see of a model that takes long to load.
#ifndef MEMGATE_SERVER_LOAD_PROGRESS_H_
#define MEMGATE_SERVER_LOAD_PROGRESS_H_

#include <functional>

#include "absl/time/time.h"
#include "engine/weight_cache_options.h"
#include "server/log.h"

namespace memgate {

// Turns the many steps of a load into a few log lines: one whenever another tenth is done or ten seconds have
// passed, but no more than one a second, so that a model which loads at once says nothing. Not thread-safe;
// `log` must outlive it.
class LoadProgress {
 public:
  LoadProgress(Log& log, std::function<absl::Time()> clock);

  // `done` of `total` parts are loaded.
  void Update(int done, int total);

 private:
  Log& log_;
  const std::function<absl::Time()> clock_;
  const absl::Time begin_;
  absl::Time last_line_;
  int last_tenth_ = 0;
};

// One line for what the weight cache gave or took; a warning for what could not be written. Thread-safe.
void LogWeightCache(Log& log, const WeightCacheEvent& event);

}  // namespace memgate

#endif  // MEMGATE_SERVER_LOAD_PROGRESS_H_
