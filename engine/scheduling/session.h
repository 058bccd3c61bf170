// A session as the scheduler sees it: its state, its byte reservation and who may use it.
#ifndef MEMGATE_ENGINE_SCHEDULING_SESSION_H_
#define MEMGATE_ENGINE_SCHEDULING_SESSION_H_

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "engine/session/byte_accountant.h"
#include "engine/session/chat_tail.h"
#include "engine/session/session_state.h"
#include "engine/session/snapshot.h"

namespace memgate {

// How full a session is; a copy that may be read while a turn runs.
struct SessionFill {
  TokenAccounting accounting;
  int64_t memory_writes = 0;
  int64_t turns = 0;
  int64_t chat_bytes = 0;  // of its ChatTail
};

// The state belongs to the holder of the lease; everything else is thread-safe.
class Session {
 public:
  // `reservation` covers SessionState::Bytes().total(). It grows with what the session keeps of its chat.
  Session(const SessionContext& context, const SessionShape& shape, Reservation reservation,
          std::pmr::memory_resource* resource)
      : reservation_(std::move(reservation)), state_(context, shape, resource) {}

  const SessionShape& shape() const { return state_.shape(); }
  const MemoryKind& kind() const { return state_.kind(); }
  KvFormat kv_format() const { return state_.context().kv_format; }
  // Of the state: fixed. What is kept of a chat is reserved beside them (SessionFill).
  int64_t bytes() const { return SessionState::Bytes(state_.context(), state_.shape()).total(); }
  bool busy() const { return leased_.load(std::memory_order_acquire); }
  SessionFill fill() const {
    MutexLock lock(&mutex_);
    return fill_;
  }

 private:
  friend class SessionLease;

  Reservation reservation_;
  SessionState state_;
  // The last sampled or ingested token: part of the conversation, not yet taken into the state. The next turn
  // begins with it, so a session can always be continued.
  int32_t pending_token_ = kNoToken;
  int64_t turns_ = 0;
  ChatTail chat_tail_;
  std::atomic<bool> leased_{false};
  mutable Mutex mutex_;
  SessionFill fill_ ABSL_GUARDED_BY(mutex_);
};

// The right to use a session's state; at most one lives per session. Given back on destruction.
class SessionLease {
 public:
  // ABORTED (SESSION_BUSY) while another lease lives.
  static absl::StatusOr<std::shared_ptr<SessionLease>> Acquire(std::shared_ptr<Session> session);
  ~SessionLease();
  SessionLease(const SessionLease&) = delete;
  SessionLease& operator=(const SessionLease&) = delete;

  const std::shared_ptr<Session>& session() const { return session_; }
  SessionState& state() const { return session_->state_; }
  int32_t pending_token() const { return session_->pending_token_; }
  void set_pending_token(int32_t token) { session_->pending_token_ = token; }
  int64_t turns() const { return session_->turns_; }
  void set_turns(int64_t turns) { session_->turns_ = turns; }
  const ChatTail& chat_tail() const { return session_->chat_tail_; }
  // Reserves the bytes that `tail` holds. Where they are more than it may hold, or than are left, its texts
  // are not kept.
  void set_chat_tail(ChatTail tail);
  // Forgets the conversation.
  void Clear() {
    state().Clear();
    set_pending_token(kNoToken);
    set_turns(0);
    set_chat_tail({});
  }
  // Tokens of the conversation, the pending one included.
  int64_t total_tokens() const { return state().length() + (pending_token() != kNoToken); }
  TokenAccounting Accounting() const { return state().Accounting(pending_token() != kNoToken); }
  // One turn at a time even on one lease: false while another one has entered.
  bool EnterTurn() { return !in_turn_.exchange(true, std::memory_order_acq_rel); }
  void LeaveTurn() { in_turn_.store(false, std::memory_order_release); }
  // Makes the current fill visible to Session::fill().
  void Publish() const;

 private:
  explicit SessionLease(std::shared_ptr<Session> session) : session_(std::move(session)) {}

  const std::shared_ptr<Session> session_;
  std::atomic<bool> in_turn_{false};
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SCHEDULING_SESSION_H_
