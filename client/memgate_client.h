// A typed client for a memgate server.
#ifndef MEMGATE_CLIENT_MEMGATE_CLIENT_H_
#define MEMGATE_CLIENT_MEMGATE_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "memgate/v1/inference.grpc.pb.h"
#include "memgate/v1/model.grpc.pb.h"
#include "memgate/v1/session.grpc.pb.h"

namespace memgate {

// Where a server listens when nothing else is said.
inline constexpr char kDefaultAddress[] = "127.0.0.1:50061";

struct ClientOptions {
  // HOST:PORT, or unix:PATH.
  std::string address = kDefaultAddress;
  // TLS is used if any of the next four is set. Empty `ca_file` means the system's authorities.
  bool tls = false;
  std::string ca_file;
  std::string cert_file;  // client certificate for mutual TLS, with key_file
  std::string key_file;
  // The name to expect in the server's certificate, if it is not the host of `address`.
  std::string tls_server_name;
  // Sent as a bearer token: printable ASCII without blanks. Refused without TLS to anything but this machine,
  // unless allowed below.
  std::string api_key;
  bool allow_plaintext_key = false;
  // Deadline of every call.
  absl::Duration timeout = absl::InfiniteDuration();
};

// What a generated answer consists of, in order of arrival. Unset members are skipped.
struct GenerateCallbacks {
  std::function<void(const v1::RouteInfo&)> on_route;
  std::function<void(const v1::TextDelta&)> on_delta;
  std::function<void(const v1::GenerateDone&)> on_done;
};

struct IngestOptions {
  // Fill scored_tokens and logprob_sum of the progress messages.
  bool score = false;
};

// Hands out the text to ingest: true with a chunk, false at its end. An empty chunk says that nothing is
// there yet; the source is then asked again unless the call has ended meanwhile. An error ends the call.
using TextSource = std::function<absl::StatusOr<bool>(std::string* chunk)>;

// One connection to one server. Thread-safe. All calls block; callbacks run on the calling thread. Errors are
// those of the server (rpc_status.h reads their reasons), UNAVAILABLE when it cannot be reached, or
// INVALID_ARGUMENT for strings that are not UTF-8, which are not sent. A `Cancellation` may be null.
class Client {
 public:
  // Reads the TLS files; connects with the first call. NOT_FOUND or INVALID_ARGUMENT for the files,
  // INVALID_ARGUMENT for an API key that cannot be sent, FAILED_PRECONDITION for one over plain text.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  absl::Status Generate(const v1::GenerateRequest& request, const GenerateCallbacks& callbacks,
                        Cancellation* cancellation = nullptr);

  // Feeds `source` into the session and returns the last progress message. `source` runs on a thread of its
  // own, one call at a time.
  absl::StatusOr<v1::IngestProgress> Ingest(absl::string_view session, const TextSource& source,
                                            const std::function<void(const v1::IngestProgress&)>& on_progress,
                                            Cancellation* cancellation = nullptr,
                                            const IngestOptions& options = {});

  absl::StatusOr<v1::CountTokensResponse> CountTokens(const v1::CountTokensRequest& request);

  absl::StatusOr<v1::Session> CreateSession(const v1::CreateSessionRequest& request);
  absl::StatusOr<v1::Session> GetSession(absl::string_view session);
  // `request.name` may be an id, too.
  absl::StatusOr<v1::SessionMemory> GetSessionMemory(v1::GetSessionMemoryRequest request);
  // All pages.
  absl::StatusOr<std::vector<v1::Session>> ListSessions();
  absl::StatusOr<v1::Session> ResetSession(absl::string_view session);
  // An empty `new_id` lets the server choose.
  absl::StatusOr<v1::Session> ForkSession(absl::string_view session, absl::string_view new_id);
  absl::Status DeleteSession(absl::string_view session);
  // Hands the snapshot's parts to `sink` in order; an error from it cancels the call and is returned.
  absl::Status ExportSession(absl::string_view session,
                             absl::FunctionRef<absl::Status(absl::string_view)> sink);
  // Reads the snapshot through `source` until it returns false.
  absl::StatusOr<v1::Session> ImportSession(absl::string_view new_id, const TextSource& source);

  absl::StatusOr<std::vector<v1::Model>> ListModels();

 private:
  Client(const ClientOptions& options, std::shared_ptr<grpc::Channel> channel);
  void Prepare(grpc::ClientContext* context) const;
  template <typename Response, typename Stub, typename Method, typename Request>
  absl::StatusOr<Response> Unary(Stub& stub, Method method, const Request& request) const;

  const std::string api_key_;
  const absl::Duration timeout_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::InferenceService::Stub> inference_;
  const std::unique_ptr<v1::SessionService::Stub> sessions_;
  const std::unique_ptr<v1::ModelService::Stub> models_;
};

// "sessions/plant-7" for both "plant-7" and "sessions/plant-7"; empty stays empty.
std::string SessionName(absl::string_view name_or_id);
// "plant-7" for both.
std::string SessionId(absl::string_view name_or_id);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_MEMGATE_CLIENT_H_
