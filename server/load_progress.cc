#include "server/load_progress.h"

#include <utility>

namespace memgate {
namespace {

constexpr absl::Duration kLeastPause = absl::Seconds(1);
constexpr absl::Duration kLongestSilence = absl::Seconds(10);

}  // namespace

LoadProgress::LoadProgress(Log& log, std::function<absl::Time()> clock)
    : log_(log), clock_(std::move(clock)), begin_(clock_()), last_line_(begin_) {}

void LoadProgress::Update(int done, int total) {
  if (total <= 0 || done >= total) return;  // the end has a line of its own
  const absl::Time now = clock_();
  const int tenth = static_cast<int>(int64_t{10} * done / total);
  const bool due =
      tenth > last_tenth_ ? now - last_line_ >= kLeastPause : now - last_line_ >= kLongestSilence;
  if (!due) return;
  last_tenth_ = tenth;
  last_line_ = now;
  log_.Info("loading_progress",
            {{"percent", int64_t{100} * done / total}, {"seconds", absl::ToDoubleSeconds(now - begin_)}});
}

void LogWeightCache(Log& log, const WeightCacheEvent& event) {
  const double seconds = absl::ToDoubleSeconds(event.took);
  switch (event.outcome) {
    case WeightCacheEvent::Outcome::kHit:
      log.Info("weight_cache_hit", {{"what", event.what}, {"seconds", seconds}});
      return;
    case WeightCacheEvent::Outcome::kMiss:
      log.Info("weight_cache_miss", {{"what", event.what}, {"reason", event.reason}, {"seconds", seconds}});
      return;
    case WeightCacheEvent::Outcome::kWritten:
      log.Info("weight_cache_written", {{"what", event.what}, {"seconds", seconds}});
      return;
    case WeightCacheEvent::Outcome::kAlreadyWritten:
      log.Info("weight_cache_already_written", {{"what", event.what}, {"seconds", seconds}});
      return;
    case WeightCacheEvent::Outcome::kNotWritten:
      log.Warning("weight_cache_not_written",
                  {{"what", event.what}, {"reason", event.reason}, {"seconds", seconds}});
      return;
  }
}

}  // namespace memgate
