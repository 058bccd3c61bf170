// What every call has in common: a tenant at the beginning, a status, a metric and a log line at the end.
#ifndef MEMGATE_SERVER_CALL_H_
#define MEMGATE_SERVER_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/service_context.h"

namespace memgate {

class Call {
 public:
  // `method` is the RPC's name and must outlive the call.
  Call(const ServiceContext& context, absl::string_view method, const grpc::CallbackServerContext& rpc);

  // OK, or UNAUTHENTICATED: nothing else may be looked at then.
  const absl::Status& permission() const { return tenant_.status(); }
  // REQUIRES: permission() is OK.
  const std::string& tenant() const { return *tenant_; }
  absl::Time arrival() const { return arrival_; }
  absl::Time deadline() const { return deadline_; }

  // UNAVAILABLE (DRAINING) once the server shuts down; for calls that would add state.
  absl::Status CheckAcceptsNewState() const;

  // The status to finish the RPC with; counts and logs it. Call exactly once.
  grpc::Status Finish(const absl::Status& status);

 private:
  const ServiceContext& context_;
  const absl::string_view method_;
  const absl::Time arrival_;
  const absl::Time deadline_;
  const absl::StatusOr<std::string> tenant_;
};

// Runs a unary RPC: `body(call)` returns its absl::Status.
template <typename Body>
grpc::ServerUnaryReactor* RunUnary(const ServiceContext& context, absl::string_view method,
                                   grpc::CallbackServerContext* rpc, Body body) {
  Call call(context, method, *rpc);
  const absl::Status status = call.permission().ok() ? body(call) : call.permission();
  grpc::ServerUnaryReactor* reactor = rpc->DefaultReactor();
  reactor->Finish(call.Finish(status));
  return reactor;
}

}  // namespace memgate

#endif  // MEMGATE_SERVER_CALL_H_
