#include "server/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace memgate {
namespace {

// A handler gets no context, so what it touches must be here: a pipe to the waiting thread, and whether a
// stop was asked for before.
int pipe_ends[2] = {-1, -1};
volatile sig_atomic_t stop_requested = 0;

extern "C" void HandleSignal(int signal) {
  if (signal != SIGHUP) {
    if (stop_requested) _exit(128 + signal);
    stop_requested = 1;
  }
  const int saved_errno = errno;
  const char kind = signal == SIGHUP ? 'h' : 's';
  // The pipe does not block; if it is full, thousands of signals wait already.
  [[maybe_unused]] const ssize_t written = write(pipe_ends[1], &kind, 1);
  errno = saved_errno;
}

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

}  // namespace

SignalWaiter::SignalWaiter() {
  stop_requested = 0;
  if (pipe2(pipe_ends, O_CLOEXEC) == 0) fcntl(pipe_ends[1], F_SETFL, O_NONBLOCK);
  Handle(SIGTERM, HandleSignal);
  Handle(SIGINT, HandleSignal);
  Handle(SIGHUP, HandleSignal);
  Handle(SIGPIPE, SIG_IGN);
}

SignalWaiter::~SignalWaiter() {
  Handle(SIGTERM, SIG_DFL);
  Handle(SIGINT, SIG_DFL);
  Handle(SIGHUP, SIG_DFL);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

OperatorSignal SignalWaiter::Wait() {
  char kind = 's';
  ssize_t got;
  do {
    got = read(pipe_ends[0], &kind, 1);
  } while (got < 0 && errno == EINTR);
  // A pipe that cannot be read is no reason to run on without a way to stop.
  return got == 1 && kind == 'h' ? OperatorSignal::kReload : OperatorSignal::kStop;
}

}  // namespace memgate
