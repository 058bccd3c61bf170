// Ctrl-C while something runs.
#ifndef MEMGATE_CLIENT_COMMANDS_INTERRUPT_H_
#define MEMGATE_CLIENT_COMMANDS_INTERRUPT_H_

#include <signal.h>

#include <functional>
#include <thread>

namespace memgate {

// While it lives, SIGINT calls `on_interrupt` on a thread of its own instead of ending the process. One at a
// time.
class ScopedInterrupt {
 public:
  explicit ScopedInterrupt(std::function<void()> on_interrupt);
  ~ScopedInterrupt();
  ScopedInterrupt(const ScopedInterrupt&) = delete;
  ScopedInterrupt& operator=(const ScopedInterrupt&) = delete;

 private:
  int pipe_[2];
  struct sigaction previous_;
  std::thread thread_;
};

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_INTERRUPT_H_
