// JSON lines on a stream.
#ifndef MEMGATE_TESTS_EVAL_EVENT_WRITER_H_
#define MEMGATE_TESTS_EVAL_EVENT_WRITER_H_

#include <nlohmann/json.hpp>
#include <ostream>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/message_json.h"

namespace memgate::eval {

// Thread-safe. Each event is one line, flushed at once: whoever reads sees it while the work goes on.
class EventWriter {
 public:
  explicit EventWriter(std::ostream& out) : out_(out) {}

  void Write(const nlohmann::ordered_json& event) {
    const absl::MutexLock lock(&mutex_);
    out_ << Dump(event) << std::endl;
  }

 private:
  absl::Mutex mutex_;
  std::ostream& out_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace memgate::eval

#endif  // MEMGATE_TESTS_EVAL_EVENT_WRITER_H_
