// Structured logging: an event name and fields, as text or as one JSON object per line on standard error. No
// conversation text ever passes through here.
#ifndef MEMGATE_SERVER_LOG_H_
#define MEMGATE_SERVER_LOG_H_

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "server/options.h"

namespace spdlog {
class logger;
namespace sinks {
class sink;
}
}  // namespace spdlog

namespace memgate {

// A named value of a log line; lives as long as what it was made from.
class LogField {
 public:
  LogField(absl::string_view name, absl::string_view value);
  LogField(absl::string_view name, const std::string& value) : LogField(name, absl::string_view(value)) {}
  LogField(absl::string_view name, const char* value) : LogField(name, absl::string_view(value)) {}
  LogField(absl::string_view name, int64_t value);
  LogField(absl::string_view name, int value) : LogField(name, int64_t{value}) {}
  LogField(absl::string_view name, double value);

  absl::string_view name() const { return name_; }
  // The value as JSON.
  const std::string& json() const { return json_; }

 private:
  absl::string_view name_;
  std::string json_;
};

// Thread-safe.
class Log {
 public:
  // Writes to standard error.
  Log(LogLevel level, LogFormat format);
  // Writes to `sink`.
  Log(LogLevel level, LogFormat format, std::shared_ptr<spdlog::sinks::sink> sink);

  using Fields = std::initializer_list<LogField>;
  void Debug(absl::string_view event, Fields fields = {}) { Write(LogLevel::kDebug, event, fields); }
  void Info(absl::string_view event, Fields fields = {}) { Write(LogLevel::kInfo, event, fields); }
  void Warning(absl::string_view event, Fields fields = {}) { Write(LogLevel::kWarning, event, fields); }
  void Error(absl::string_view event, Fields fields = {}) { Write(LogLevel::kError, event, fields); }

 private:
  void Write(LogLevel level, absl::string_view event, Fields fields);

  const LogFormat format_;
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_LOG_H_
