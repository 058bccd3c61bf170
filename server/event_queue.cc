#include "server/event_queue.h"

#include <utility>

namespace memgate {

void MergeDelta(const v1::TextDelta& from, v1::TextDelta& to) {
  to.mutable_text()->append(from.text());
  to.mutable_token_ids()->MergeFrom(from.token_ids());
  to.mutable_logprobs()->MergeFrom(from.logprobs());
}

void EventQueue::Push(v1::GenerateResponse event) {
  const size_t bytes = event.ByteSizeLong();
  if (events_.size() >= max_messages_ && event.has_delta() && events_.back().has_delta() &&
      last_bytes_ + bytes <= kMaxMergedBytes) {
    MergeDelta(event.delta(), *events_.back().mutable_delta());
    last_bytes_ += bytes;
    return;
  }
  events_.push_back(std::move(event));
  last_bytes_ = bytes;
}

std::optional<v1::GenerateResponse> EventQueue::Pop() {
  if (events_.empty()) return std::nullopt;
  v1::GenerateResponse event = std::move(events_.front());
  events_.pop_front();
  return event;
}

}  // namespace memgate
