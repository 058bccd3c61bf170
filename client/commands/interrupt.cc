#include "client/commands/interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

namespace memgate {
namespace {

constexpr char kInterrupted = 'i';
constexpr char kFinished = 'f';

// A signal handler can reach nothing but globals; this one is the write end of the living scope's pipe.
std::atomic<int> interrupt_fd = -1;

void Tell(int fd, char what) {
  while (write(fd, &what, 1) < 0 && errno == EINTR) {
  }
}

void HandleInterrupt(int) {
  const int saved_errno = errno;
  const int fd = interrupt_fd.load();
  if (fd >= 0) Tell(fd, kInterrupted);
  errno = saved_errno;
}

}  // namespace

ScopedInterrupt::ScopedInterrupt(std::function<void()> on_interrupt) {
  // Without a pipe (out of descriptors) Ctrl-C simply keeps its default meaning.
  if (pipe2(pipe_, O_CLOEXEC) != 0) {
    pipe_[0] = pipe_[1] = -1;
    return;
  }
  thread_ = std::thread([fd = pipe_[0], on_interrupt = std::move(on_interrupt)] {
    for (char what = 0; what != kFinished;) {
      const ssize_t got = read(fd, &what, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got != 1) return;
      if (what == kInterrupted) on_interrupt();
    }
  });
  interrupt_fd = pipe_[1];
  struct sigaction action {};
  action.sa_handler = HandleInterrupt;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &previous_);
}

ScopedInterrupt::~ScopedInterrupt() {
  if (pipe_[0] < 0) return;
  sigaction(SIGINT, &previous_, nullptr);
  interrupt_fd = -1;
  Tell(pipe_[1], kFinished);
  thread_.join();
  close(pipe_[0]);
  close(pipe_[1]);
}

}  // namespace memgate
