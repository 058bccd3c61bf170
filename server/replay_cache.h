// Finished answers by request id, so that a retried Generate gets the answer that was already made.
#ifndef MEMGATE_SERVER_REPLAY_CACHE_H_
#define MEMGATE_SERVER_REPLAY_CACHE_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "memgate/v1/inference.pb.h"

namespace memgate {

using Answer = std::vector<v1::GenerateResponse>;

// Thread-safe. Keeps an answer for `retention` and all answers together within `max_bytes` (the oldest leave
// first; an answer that is larger by itself is not kept).
class ReplayCache {
 public:
  struct Key {
    std::string tenant, session, request_id;
    absl::Time session_created = {};  // a deleted session's name may be given to another one
    friend std::weak_ordering operator<=>(const Key&, const Key&) = default;
  };
  using Clock = std::function<absl::Time()>;
  ReplayCache(absl::Duration retention, int64_t max_bytes, Clock clock)
      : retention_(retention), max_bytes_(max_bytes), clock_(std::move(clock)) {}

  // The finished answer for `key`; or null, and `key` is marked as running until Store or Abandon; or ABORTED
  // (REQUEST_IN_PROGRESS) while another call holds that mark.
  absl::StatusOr<std::shared_ptr<const Answer>> Begin(const Key& key);
  // Ends the mark with an answer to be kept.
  void Store(const Key& key, Answer answer);
  // Ends the mark with nothing: a failed call may be made again.
  void Abandon(const Key& key);

  int64_t bytes() const;

 private:
  struct Entry {
    std::shared_ptr<const Answer> answer;  // null while running
    absl::Time stored_at;
    int64_t bytes = 0;
  };
  void Shrink() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration retention_;
  const int64_t max_bytes_;
  const Clock clock_;
  mutable absl::Mutex mutex_;
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::list<Key> by_age_ ABSL_GUARDED_BY(mutex_);  // finished ones, oldest first
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_REPLAY_CACHE_H_
