// Waiting for the signals that an operator sends.
#ifndef MEMGATE_SERVER_SIGNALS_H_
#define MEMGATE_SERVER_SIGNALS_H_

namespace memgate {

enum class OperatorSignal {
  kStop,    // SIGTERM or SIGINT
  kReload,  // SIGHUP
};

// Signals belong to the process, so at most one may exist. While it does, a second stop signal ends the
// process at once (exit code 128 + signal); before it exists, the first one does. SIGPIPE is ignored from
// then on.
class SignalWaiter {
 public:
  SignalWaiter();
  ~SignalWaiter();
  SignalWaiter(const SignalWaiter&) = delete;
  SignalWaiter& operator=(const SignalWaiter&) = delete;

  // Blocks until one arrives; none is lost in between.
  OperatorSignal Wait();
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_SIGNALS_H_
