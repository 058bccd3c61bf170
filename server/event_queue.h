// What waits between the engine's thread, which must not block, and a client that may read slowly.
#ifndef MEMGATE_SERVER_EVENT_QUEUE_H_
#define MEMGATE_SERVER_EVENT_QUEUE_H_

#include <cstddef>
#include <deque>
#include <optional>

#include "memgate/v1/inference.pb.h"

namespace memgate {

// Appends the delta of `from` to that of `to`. REQUIRES: both carry deltas.
void MergeDelta(const v1::TextDelta& from, v1::TextDelta& to);

// First in, first out, never in need of more than `max_messages` plus what the text itself takes: once that
// many wait, a new delta joins the last one instead (up to a size that every gRPC client accepts). Nothing is
// lost or reordered. Not thread-safe.
class EventQueue {
 public:
  // Half of the 4 MiB that gRPC clients accept by default, so that one more delta always fits.
  static constexpr size_t kMaxMergedBytes = size_t{2} << 20;

  explicit EventQueue(size_t max_messages) : max_messages_(max_messages) {}

  void Push(v1::GenerateResponse event);
  std::optional<v1::GenerateResponse> Pop();
  bool empty() const { return events_.empty(); }
  size_t size() const { return events_.size(); }

 private:
  const size_t max_messages_;
  std::deque<v1::GenerateResponse> events_;
  size_t last_bytes_ = 0;  // about the size of events_.back(), while deltas merge into it
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_EVENT_QUEUE_H_
