// Runs a function on its own thread again and again.
#ifndef MEMGATE_SERVER_PERIODIC_TASK_H_
#define MEMGATE_SERVER_PERIODIC_TASK_H_

#include <functional>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace memgate {

// The first run comes one `interval` after construction. The destructor waits for a run in progress.
class PeriodicTask {
 public:
  PeriodicTask(absl::Duration interval, std::function<void()> run)
      : thread_([this, interval, run = std::move(run)] {
          while (!stop_.WaitForNotificationWithTimeout(interval)) run();
        }) {}
  ~PeriodicTask() {
    stop_.Notify();
    thread_.join();
  }
  PeriodicTask(const PeriodicTask&) = delete;
  PeriodicTask& operator=(const PeriodicTask&) = delete;

 private:
  absl::Notification stop_;  // before thread_, which reads it
  std::thread thread_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_PERIODIC_TASK_H_
