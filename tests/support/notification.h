// A flag that one thread raises and others wait for; orders memory for ThreadSanitizer too
// (engine/base/mutex.h).
#ifndef MEMGATE_TESTS_SUPPORT_NOTIFICATION_H_
#define MEMGATE_TESTS_SUPPORT_NOTIFICATION_H_

#include "engine/base/mutex.h"

namespace memgate {

class Notification {
 public:
  void Notify() {
    MutexLock lock(&mutex_);
    notified_ = true;
  }
  bool HasBeenNotified() {
    MutexLock lock(&mutex_);
    return notified_;
  }
  void WaitForNotification() {
    MutexLock lock(&mutex_);
    const auto notified = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return notified_; };
    mutex_.Await(notified);
  }

 private:
  Mutex mutex_;
  bool notified_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_NOTIFICATION_H_
