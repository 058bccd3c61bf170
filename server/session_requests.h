// Reads the requests of SessionService: names, settings and pages, checked against the limits of
// session.proto.
#ifndef MEMGATE_SERVER_SESSION_REQUESTS_H_
#define MEMGATE_SERVER_SESSION_REQUESTS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "memgate/v1/session.pb.h"
#include "server/session_registry.h"

namespace memgate {

// All errors are INVALID_ARGUMENT "field: what is wrong".

// "sessions/abc" -> "abc".
absl::StatusOr<std::string> ParseSessionName(absl::string_view field, absl::string_view name);
// Accepts an empty id (a random one is to be chosen).
absl::Status CheckSessionId(absl::string_view field, absl::string_view id);
absl::Status CheckRequestId(absl::string_view id);

// ttl (default: `default_ttl`) and labels.
absl::StatusOr<SessionSettings> ReadSettings(const v1::Session& session, absl::Duration default_ttl);
// Memory kind, shape and size limit of a new session. The engine checks what depends on the model.
absl::StatusOr<SessionOptions> ReadSessionOptions(const v1::CreateSessionRequest& request);

struct SessionUpdate {
  std::optional<absl::Duration> ttl;
  std::optional<Labels> labels;
};
absl::StatusOr<SessionUpdate> ReadUpdate(const v1::UpdateSessionRequest& request, absl::Duration default_ttl);

struct Page {
  int size = 0;
  std::string after;  // id after which the page begins
};
absl::StatusOr<Page> ReadPage(const v1::ListSessionsRequest& request);
// The token for the page that begins after session `id`. Opaque to clients; holds no secret.
std::string PageToken(absl::string_view id);

}  // namespace memgate

#endif  // MEMGATE_SERVER_SESSION_REQUESTS_H_
