#include "server/session_requests.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/error.h"

namespace memgate {
namespace {

constexpr size_t kMaxIdBytes = 63;
constexpr size_t kMaxRequestIdBytes = 128;
constexpr int kMaxLabels = 16;
constexpr size_t kMaxLabelBytes = 63;
constexpr int kDefaultPageSize = 100;
constexpr int kMaxPageSize = 1000;
constexpr absl::string_view kPageTokenPrefix = "after:";
constexpr absl::string_view kIdRule =
    "1..63 characters of [a-z0-9-], starting and ending with a letter or digit";

bool IsSessionId(absl::string_view id) {
  const auto alphanumeric = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); };
  return !id.empty() && id.size() <= kMaxIdBytes && alphanumeric(id.front()) && alphanumeric(id.back()) &&
         std::all_of(id.begin(), id.end(), [&](char c) { return alphanumeric(c) || c == '-'; });
}

absl::StatusOr<absl::Duration> ReadTtl(const google::protobuf::Duration& ttl) {
  constexpr absl::Duration kMaxTtl = absl::Hours(24 * 3650);  // as of --session-ttl
  const absl::Duration duration = absl::Seconds(ttl.seconds()) + absl::Nanoseconds(ttl.nanos());
  if (ttl.seconds() < 0 || ttl.nanos() < 0 || ttl.nanos() > 999'999'999 || duration > kMaxTtl) {
    return FieldError("session.ttl", "must be 0 (never) or a positive duration of at most 3,650 days");
  }
  return duration;
}

absl::StatusOr<Labels> ReadLabels(const google::protobuf::Map<std::string, std::string>& labels) {
  if (labels.size() > kMaxLabels) {
    return FieldError("session.labels",
                      absl::StrCat(labels.size(), " entries; at most ", kMaxLabels, " are allowed"));
  }
  Labels result;
  for (const auto& [key, value] : labels) {
    if (key.empty() || key.size() > kMaxLabelBytes || value.size() > kMaxLabelBytes) {
      return FieldError("session.labels", "keys are 1..63 bytes and values 0..63 bytes long");
    }
    result.emplace(key, value);
  }
  return result;
}

}  // namespace

absl::StatusOr<std::string> ParseSessionName(absl::string_view field, absl::string_view name) {
  absl::string_view id = name;
  if (!absl::ConsumePrefix(&id, "sessions/") || !IsSessionId(id)) {
    return FieldError(field, absl::StrCat("expected sessions/{session}, where {session} is ", kIdRule));
  }
  return std::string(id);
}

absl::Status CheckSessionId(absl::string_view field, absl::string_view id) {
  if (id.empty() || IsSessionId(id)) return absl::OkStatus();
  return FieldError(field, absl::StrCat("must be ", kIdRule));
}

absl::Status CheckRequestId(absl::string_view id) {
  if (id.size() <= kMaxRequestIdBytes) return absl::OkStatus();
  return FieldError("request_id",
                    absl::StrCat(id.size(), " bytes; at most ", kMaxRequestIdBytes, " are allowed"));
}

absl::StatusOr<SessionSettings> ReadSettings(const v1::Session& session, absl::Duration default_ttl) {
  SessionSettings settings{.ttl = default_ttl};
  if (session.has_ttl()) {
    absl::StatusOr<absl::Duration> ttl = ReadTtl(session.ttl());
    if (!ttl.ok()) return ttl.status();
    settings.ttl = *ttl;
  }
  absl::StatusOr<Labels> labels = ReadLabels(session.labels());
  if (!labels.ok()) return labels.status();
  settings.labels = *std::move(labels);
  return settings;
}

absl::StatusOr<SessionOptions> ReadSessionOptions(const v1::CreateSessionRequest& request) {
  SessionOptions options;
  options.memory_kind = request.session().memory_kind();
  if (request.max_session_bytes() < 0) {
    return FieldError("max_session_bytes", "must be 0 (off) or a positive number of bytes");
  }
  options.max_bytes = request.max_session_bytes();
  struct Item {
    absl::string_view field;
    bool given;
    int32_t value;
    std::optional<int32_t>& target;
  };
  const v1::MemoryShape& shape = request.session().shape();
  const Item items[] = {
      {"session.shape.sink_tokens", shape.has_sink_tokens(), shape.sink_tokens(), options.sinks},
      {"session.shape.window_tokens", shape.window_tokens() != 0, shape.window_tokens(), options.window},
      {"session.shape.segment_tokens", shape.segment_tokens() != 0, shape.segment_tokens(), options.segment},
      {"session.shape.salient_tokens", shape.has_salient_tokens(), shape.salient_tokens(), options.salient}};
  for (const Item& item : items) {
    if (item.value < 0) return FieldError(item.field, "must not be negative");
    if (item.given) item.target = item.value;
  }
  if (options.max_bytes > 0 && options.window) {
    return FieldError("session.shape.window_tokens",
                      "cannot be given together with max_session_bytes, which chooses it");
  }
  return options;
}

absl::StatusOr<SessionUpdate> ReadUpdate(const v1::UpdateSessionRequest& request,
                                         absl::Duration default_ttl) {
  if (request.update_mask().paths().empty()) {
    return FieldError("update_mask", "is required; allowed paths are \"ttl\" and \"labels\"");
  }
  absl::StatusOr<SessionSettings> settings = ReadSettings(request.session(), default_ttl);
  if (!settings.ok()) return settings.status();
  SessionUpdate update;
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "ttl") {
      update.ttl = settings->ttl;
    } else if (path == "labels") {
      update.labels = settings->labels;
    } else {
      return FieldError("update_mask",
                        absl::StrCat("\"", absl::CHexEscape(path.substr(0, 64)),
                                     "\" cannot be changed; allowed paths are \"ttl\" and \"labels\""));
    }
  }
  return update;
}

absl::StatusOr<Page> ReadPage(const v1::ListSessionsRequest& request) {
  if (request.page_size() < 0) return FieldError("page_size", "must not be negative");
  Page page;
  page.size = request.page_size() == 0 ? kDefaultPageSize : std::min(request.page_size(), kMaxPageSize);
  if (request.page_token().empty()) return page;
  std::string token;
  absl::string_view id;
  if (!absl::WebSafeBase64Unescape(request.page_token(), &token) ||
      !absl::ConsumePrefix(&(id = token), kPageTokenPrefix) || !IsSessionId(id)) {
    return FieldError("page_token", "is not a next_page_token that this server gave out");
  }
  page.after = std::string(id);
  return page;
}

std::string PageToken(absl::string_view id) {
  return absl::WebSafeBase64Escape(absl::StrCat(kPageTokenPrefix, id));
}

}  // namespace memgate
