// Cancels a running call from another thread.
#ifndef MEMGATE_CLIENT_CANCELLATION_H_
#define MEMGATE_CLIENT_CANCELLATION_H_

#include <grpcpp/client_context.h>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace memgate {

// One call at a time may be attached. Thread-safe; must outlive the call it is passed to.
class Cancellation {
 public:
  // Ends the attached call with CANCELLED, and every later one at once.
  void Cancel();

 private:
  friend class ScopedAttach;

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

// Attaches a call's context for as long as the context lives. `cancellation` may be null.
class ScopedAttach {
 public:
  ScopedAttach(Cancellation* cancellation, grpc::ClientContext* context);
  ~ScopedAttach();
  ScopedAttach(const ScopedAttach&) = delete;
  ScopedAttach& operator=(const ScopedAttach&) = delete;

 private:
  Cancellation* const cancellation_;
};

}  // namespace memgate

#endif  // MEMGATE_CLIENT_CANCELLATION_H_
