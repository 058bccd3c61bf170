// Who calls: the tenant of a call, from its credential and from nothing else.
#ifndef MEMGATE_SERVER_AUTH_H_
#define MEMGATE_SERVER_AUTH_H_

#include <grpcpp/server_context.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/api_keys.h"

namespace memgate {

enum class AuthMode {
  kNone,               // everybody is the tenant "default"
  kApiKeys,            // the tenant that the bearer key belongs to
  kClientCertificate,  // the common name of the verified client certificate
};

// Thread-safe.
class Authenticator {
 public:
  // `requires_certificate`: a verified client certificate is needed besides the key (kClientCertificate
  // always needs one). REQUIRES: keys are given exactly for kApiKeys.
  Authenticator(AuthMode mode, std::optional<ApiKeys> keys, bool requires_certificate = false);

  AuthMode mode() const { return mode_; }
  // Takes effect for calls that begin later.
  void ReplaceKeys(ApiKeys keys);

  // UNAUTHENTICATED (CREDENTIALS_MISSING, CREDENTIALS_INVALID).
  absl::StatusOr<std::string> TenantOf(const grpc::CallbackServerContext& rpc) const;
  // The kApiKeys part: `authorization` is the value of that metadata entry, "Bearer <key>".
  absl::StatusOr<std::string> TenantOfHeader(std::optional<absl::string_view> authorization) const;

 private:
  const AuthMode mode_;
  const bool requires_certificate_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const ApiKeys> keys_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_AUTH_H_
