// What every step of rendering shares: the first error and the budget of work.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_CONTEXT_H_
#define MEMGATE_ENGINE_TEXT_JINJA_CONTEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "engine/text/jinja_value.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate::jinja {

// The first error sticks; after it values are meaningless and every loop should end. Not thread-safe.
class Context {
 public:
  struct Limits {
    int64_t steps = 0;
    int64_t bytes = 0;  // of all strings and lists made on the way, and of the output
  };
  explicit Context(Limits limits) : left_(limits), max_weight_(limits.bytes) {}

  // The line that errors are reported at.
  void set_line(int line) { line_ = line; }
  int line() const { return line_; }

  // INVALID_ARGUMENT, with the first KiB of what may be a template's own message. Returns an undefined value,
  // for "return context.Fail(...)".
  Value Fail(std::string_view message) {
    constexpr size_t kMostBytes = 1024;
    message = message.substr(0, CompleteUtf8Bytes(message.substr(0, kMostBytes)));
    if (status_.ok()) status_ = absl::InvalidArgumentError(Concat("template line ", line_, ": ", message));
    return Value();
  }
  Value FailLimit(std::string_view message) {
    if (status_.ok()) status_ = absl::ResourceExhaustedError(Concat("template line ", line_, ": ", message));
    return Value();
  }
  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }

  // False, with an error, if the budget is used up.
  bool Step(int64_t steps = 1) {
    left_.steps -= steps;
    if (left_.steps < 0) FailLimit("the template does not end within the allowed number of steps");
    return !failed();
  }
  bool Charge(size_t bytes) {
    left_.bytes -= static_cast<int64_t>(bytes);
    if (left_.bytes < 0) FailLimit("the template makes more text than is allowed");
    return !failed();
  }

  // The cost of reading the whole value.
  bool Read(const Value& value) {
    constexpr size_t kBytesPerStep = 64;
    return Step(static_cast<int64_t>(value.weight() / kBytesPerStep));
  }

  // Values whose size the template decides: charged, and of bounded nesting.
  Value NewString(std::string text) { return Charge(text.size()) ? Value::String(std::move(text)) : Value(); }
  Value NewList(List items) {
    return Charge(items.size() * sizeof(Value)) ? Shallow(Value::FromList(std::move(items))) : Value();
  }
  Value NewDict(Dict items) {
    return Charge(items.size() * 2 * sizeof(Value)) ? Shallow(Value::FromDict(std::move(items))) : Value();
  }

 private:
  // Values are compared, printed and freed recursively.
  static constexpr int kMaxValueDepth = 32;
  Value Shallow(Value value) {
    if (value.depth() > kMaxValueDepth) return FailLimit("a list or dict is nested too deeply");
    if (value.weight() > max_weight_) return FailLimit("a list or dict is larger than is allowed");
    return value;
  }

  Limits left_;
  size_t max_weight_;
  int line_ = 0;
  absl::Status status_;
};

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_CONTEXT_H_
