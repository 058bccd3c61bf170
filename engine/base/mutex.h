// absl::Mutex that ThreadSanitizer understands even where Abseil itself was built without it, as distributions
// build it: what lock and unlock order is told to the sanitizer here. Without the sanitizer nothing is added.
#ifndef MEMGATE_ENGINE_BASE_MUTEX_H_
#define MEMGATE_ENGINE_BASE_MUTEX_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace memgate {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    mutex_.Lock();
    Acquired();
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    Releasing();
    mutex_.Unlock();
  }
  // Blocks until ready() holds; the lock is free in the meantime. ready() may run on any thread, under the lock.
  template <typename Predicate>
  void Await(const Predicate& ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    const auto checked = [&] {
      Acquired();
      const bool result = ready();
      Releasing();
      return result;
    };
    Releasing();
    mutex_.Await(absl::Condition(&checked));
    Acquired();
  }

 private:
#if defined(__SANITIZE_THREAD__)
  void Acquired() { __tsan_acquire(this); }
  void Releasing() { __tsan_release(this); }
#else
  void Acquired() {}
  void Releasing() {}
#endif

  absl::Mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_BASE_MUTEX_H_
