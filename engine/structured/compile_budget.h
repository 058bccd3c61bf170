// What compiling one output format may cost in all.
#ifndef MEMGATE_ENGINE_STRUCTURED_COMPILE_BUDGET_H_
#define MEMGATE_ENGINE_STRUCTURED_COMPILE_BUDGET_H_

#include <cstdint>

#include "absl/status/status.h"

namespace memgate {

// Counts what every part of a compiler does, so that whatever a client sends ends after a time and within
// memory that are known before. Parts that loop look at spent(): past a limit what they make means nothing,
// and Check says so. Not thread-safe.
class CompileBudget {
 public:
  // A step looks at one thing, or makes one: a schema, a listed value, an expression, a range of characters,
  // a node of the network. Some tens of nanoseconds each.
  static constexpr int64_t kMaxSteps = 20'000'000;
  // What is held until the format is compiled, the client's text and what it parses to not included.
  static constexpr int64_t kMaxBytes = int64_t{32} << 20;

  void Step(int64_t steps = 1) { steps_ += steps; }
  void Hold(int64_t bytes) { bytes_ += bytes; }

  bool spent() const { return steps_ > kMaxSteps || bytes_ > kMaxBytes; }
  int64_t bytes() const { return bytes_; }
  // INVALID_ARGUMENT that names the limit that was passed; OK if none was.
  absl::Status Check() const;

 private:
  int64_t steps_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_COMPILE_BUDGET_H_
