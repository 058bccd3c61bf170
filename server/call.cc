#include "server/call.h"

#include <chrono>

#include "server/error.h"
#include "server/status_bridge.h"

namespace memgate {
namespace {

// A call without a deadline has one at the end of gRPC's time, which does not fit absl::Time's arithmetic
// well.
absl::Time DeadlineOf(const grpc::CallbackServerContext& rpc) {
  const absl::Time deadline = absl::FromChrono(rpc.deadline());
  return deadline > absl::Now() + absl::Hours(24 * 3650) ? absl::InfiniteFuture() : deadline;
}

}  // namespace

Call::Call(const ServiceContext& context, absl::string_view method, const grpc::CallbackServerContext& rpc)
    : context_(context),
      method_(method),
      arrival_(context.clock()),
      deadline_(DeadlineOf(rpc)),
      tenant_(context.authenticator.TenantOf(rpc)) {}

absl::Status Call::CheckAcceptsNewState() const {
  if (!context_.draining.load(std::memory_order_acquire)) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down");
}

grpc::Status Call::Finish(const absl::Status& status) {
  const grpc::Status result = ToGrpcStatus(status);
  const absl::Duration duration = context_.clock() - arrival_;
  const absl::string_view code = CodeName(result.error_code());
  context_.metrics.CountCall(method_, code, duration);
  const double milliseconds = absl::ToDoubleMilliseconds(duration);
  const absl::string_view tenant = tenant_.ok() ? absl::string_view(*tenant_) : "";
  if (status.ok()) {
    context_.log.Info("call",
                      {{"method", method_}, {"code", code}, {"tenant", tenant}, {"ms", milliseconds}});
  } else {
    // The message may quote what a client sent (a field, a name), but never the text of a conversation.
    context_.log.Info("call", {{"method", method_},
                               {"code", code},
                               {"reason", ReasonOf(status)},
                               {"message", result.error_message()},
                               {"tenant", tenant},
                               {"ms", milliseconds}});
  }
  return result;
}

}  // namespace memgate
