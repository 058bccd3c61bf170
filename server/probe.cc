#include "server/probe.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "server/address.h"
#include "server/tls.h"

namespace memgate {
namespace {

constexpr std::chrono::seconds kTimeout(4);  // less than the five that health checks commonly wait

// HealthCheckResponse{status: SERVING} on the wire: field 1, varint 1. The request for the whole server is
// the empty message. Spelled out, so that the health protocol's file need not be compiled for two bytes.
constexpr absl::string_view kServing("\x08\x01", 2);

absl::StatusOr<std::string> Target(const Options& options, const std::string& address) {
  if (!address.empty()) return address;
  auto listen = ParseListenAddress(options.listen);
  if (!listen.ok()) return listen.status();
  if (!listen->is_unix() && listen->port == 0) {
    return absl::InvalidArgumentError(
        "--listen leaves the port to the system; name it: --probe=127.0.0.1:PORT");
  }
  if (listen->host == "0.0.0.0") listen->host = "127.0.0.1";
  if (listen->host == "::") listen->host = "::1";
  return listen->ToString();
}

}  // namespace

absl::Status Probe(const Options& options, const std::string& address) {
  auto target = Target(options, address);
  if (!target.ok()) return target.status();
  auto credentials = MakeProbeCredentials(options);
  if (!credentials.ok()) return credentials.status();

  grpc::GenericStub stub(grpc::CreateChannel(*target, *credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  const grpc::ByteBuffer request(nullptr, 0);
  grpc::ByteBuffer response;
  grpc::Status status;
  absl::Notification done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &request, &response, [&](grpc::Status result) {
    status = std::move(result);
    done.Notify();
  });
  done.WaitForNotification();
  if (!status.ok()) {
    return absl::UnavailableError(absl::StrCat(*target, " does not answer: ", status.error_message()));
  }
  grpc::Slice bytes;
  if (!response.DumpToSingleSlice(&bytes).ok() ||
      absl::string_view(reinterpret_cast<const char*>(bytes.begin()), bytes.size()) != kServing) {
    return absl::UnavailableError(absl::StrCat(*target, " answers, but is not serving"));
  }
  return absl::OkStatus();
}

}  // namespace memgate
