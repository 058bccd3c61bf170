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

}  // namespace memgate
