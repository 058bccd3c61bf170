#include "engine/scheduling/session.h"

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

void SessionLease::Publish() const {
  const SessionFill fill{Accounting(), state().memory_writes(), turns()};
  MutexLock lock(&session_->mutex_);
  session_->fill_ = fill;
}

}  // namespace memgate
