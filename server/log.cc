#include "server/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace memgate {
namespace {

std::string Quoted(absl::string_view text) {
  // Bytes that are not UTF-8 become U+FFFD: a log line is always valid JSON.
  return nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

LogField::LogField(absl::string_view name, absl::string_view value) : name_(name), json_(Quoted(value)) {}
LogField::LogField(absl::string_view name, int64_t value) : name_(name), json_(absl::StrCat(value)) {}
LogField::LogField(absl::string_view name, double value)
    : name_(name), json_(std::isfinite(value) ? absl::StrCat(value) : "null") {}

Log::Log(LogLevel level, LogFormat format)
    : Log(level, format, std::make_shared<spdlog::sinks::stderr_sink_mt>()) {}

Log::Log(LogLevel level, LogFormat format, std::shared_ptr<spdlog::sinks::sink> sink)
    : format_(format), logger_(std::make_shared<spdlog::logger>("memgate", std::move(sink))) {
  logger_->set_level(ToSpdlog(level));
  logger_->flush_on(spdlog::level::info);
  logger_->set_pattern(format == LogFormat::kJson ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                                                  : "%Y-%m-%dT%H:%M:%S.%e%z %l %v");
}

void Log::Write(LogLevel level, absl::string_view event, Fields fields) {
  const auto spdlog_level = ToSpdlog(level);
  if (!logger_->should_log(spdlog_level)) return;
  std::string line;
  if (format_ == LogFormat::kJson) {
    absl::StrAppend(&line, "\"event\":", Quoted(event));
    for (const LogField& field : fields) absl::StrAppend(&line, ",", Quoted(field.name()), ":", field.json());
  } else {
    absl::StrAppend(&line, event);
    for (const LogField& field : fields) absl::StrAppend(&line, " ", field.name(), "=", field.json());
  }
  logger_->log(spdlog_level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace memgate
