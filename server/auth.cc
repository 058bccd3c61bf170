#include "server/auth.h"

#include <grpc/grpc_security_constants.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "server/error.h"

namespace memgate {
namespace {

constexpr char kDefaultTenant[] = "default";
constexpr absl::string_view kScheme = "Bearer ";

absl::Status Missing(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kUnauthenticated, "CREDENTIALS_MISSING", message);
}

absl::Status Invalid(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kUnauthenticated, "CREDENTIALS_INVALID", message);
}

bool HasCertificate(const grpc::CallbackServerContext& rpc) {
  const std::shared_ptr<const grpc::AuthContext> peer = rpc.auth_context();
  return peer != nullptr && peer->IsPeerAuthenticated();
}

absl::StatusOr<std::string> TenantOfCertificate(const grpc::CallbackServerContext& rpc) {
  const auto names = rpc.auth_context()->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
  if (names.size() != 1 || names[0].empty()) {
    return Invalid("the client certificate has no common name, which would be the tenant");
  }
  return std::string(names[0].data(), names[0].size());
}

}  // namespace

Authenticator::Authenticator(AuthMode mode, std::optional<ApiKeys> keys, bool requires_certificate)
    : mode_(mode), requires_certificate_(requires_certificate || mode == AuthMode::kClientCertificate) {
  if (keys) keys_ = std::make_shared<const ApiKeys>(*std::move(keys));
}

void Authenticator::ReplaceKeys(ApiKeys keys) {
  auto fresh = std::make_shared<const ApiKeys>(std::move(keys));
  absl::MutexLock lock(&mutex_);
  keys_ = std::move(fresh);
}

absl::StatusOr<std::string> Authenticator::TenantOf(const grpc::CallbackServerContext& rpc) const {
  if (requires_certificate_ && !HasCertificate(rpc)) return Missing("a client certificate is required");
  switch (mode_) {
    case AuthMode::kNone:
      return kDefaultTenant;
    case AuthMode::kClientCertificate:
      return TenantOfCertificate(rpc);
    case AuthMode::kApiKeys:
      break;
  }
  const auto [first, last] = rpc.client_metadata().equal_range("authorization");
  if (first == last) return TenantOfHeader(std::nullopt);
  if (std::next(first) != last) return Invalid("more than one authorization entry");
  return TenantOfHeader(absl::string_view(first->second.data(), first->second.size()));
}

absl::StatusOr<std::string> Authenticator::TenantOfHeader(
    std::optional<absl::string_view> authorization) const {
  if (!authorization) return Missing("an API key is required: send metadata authorization: Bearer <key>");
  if (!absl::StartsWithIgnoreCase(*authorization, kScheme)) {
    return Invalid("the authorization entry must read: Bearer <key>");
  }
  std::shared_ptr<const ApiKeys> keys;
  {
    absl::MutexLock lock(&mutex_);
    keys = keys_;
  }
  const std::optional<std::string> tenant =
      keys->TenantOf(absl::StripAsciiWhitespace(authorization->substr(kScheme.size())));
  if (!tenant) return Invalid("the API key is not known");
  return *tenant;
}

}  // namespace memgate
