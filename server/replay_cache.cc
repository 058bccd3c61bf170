#include "server/replay_cache.h"

#include <utility>

#include "server/error.h"

namespace memgate {

absl::StatusOr<std::shared_ptr<const Answer>> ReplayCache::Begin(const Key& key) {
  absl::MutexLock lock(&mutex_);
  Shrink();
  const auto [it, inserted] = entries_.try_emplace(key);
  if (inserted) return std::shared_ptr<const Answer>();
  if (it->second.answer == nullptr) {
    return ErrorWithReason(absl::StatusCode::kAborted, "REQUEST_IN_PROGRESS",
                           "a call with this request_id is still being answered");
  }
  return it->second.answer;
}

void ReplayCache::Store(const Key& key, Answer answer) {
  int64_t bytes = 0;
  for (const auto& message : answer) bytes += static_cast<int64_t>(message.SpaceUsedLong());
  absl::MutexLock lock(&mutex_);
  Entry& entry = entries_[key];
  entry = {
      .answer = std::make_shared<const Answer>(std::move(answer)), .stored_at = clock_(), .bytes = bytes};
  by_age_.push_back(key);
  bytes_ += bytes;
  Shrink();
}

void ReplayCache::Abandon(const Key& key) {
  absl::MutexLock lock(&mutex_);
  entries_.erase(key);
}

void ReplayCache::Shrink() {
  const absl::Time now = clock_();
  while (!by_age_.empty()) {
    const auto oldest = entries_.find(by_age_.front());
    if (bytes_ <= max_bytes_ && now < oldest->second.stored_at + retention_) return;
    bytes_ -= oldest->second.bytes;
    entries_.erase(oldest);
    by_age_.pop_front();
  }
}

int64_t ReplayCache::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace memgate
