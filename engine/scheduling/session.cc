#include "engine/scheduling/session.h"

#include <utility>

#include "engine/scheduling/status_reason.h"

namespace memgate {

absl::StatusOr<std::shared_ptr<SessionLease>> SessionLease::Acquire(std::shared_ptr<Session> session) {
  if (session->leased_.exchange(true, std::memory_order_acq_rel)) {
    return WithReason(absl::AbortedError("another turn of this session is running"), "SESSION_BUSY");
  }
  return std::shared_ptr<SessionLease>(new SessionLease(std::move(session)));
}

SessionLease::~SessionLease() {
  Publish();
  session_->leased_.store(false, std::memory_order_release);
}

void SessionLease::set_chat_tail(ChatTail tail) {
  Session& session = *session_;
  session.chat_tail_ = {};
  tail.answer.shrink_to_fit();
  if (tail.HeldBytes() > ChatTail::kMaxBytes ||
      !session.reservation_.ResizeTo(session.bytes() + tail.HeldBytes(), "the latest answer of a chat")
           .ok()) {
    tail.LoseTexts();
    session.reservation_.ShrinkTo(session.bytes());
  }
  session.chat_tail_ = std::move(tail);
}

void SessionLease::Publish() const {
  const SessionFill fill{Accounting(), state().memory_writes(), turns(), chat_tail().HeldBytes()};
  MutexLock lock(&session_->mutex_);
  session_->fill_ = fill;
}

}  // namespace memgate
