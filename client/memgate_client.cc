#include "client/memgate_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/rpc_status.h"
#include "client/utf8.h"

namespace memgate {
namespace {

constexpr absl::string_view kSessionPrefix = "sessions/";

// Snapshots and page sizes are bounded by the server; the client takes what it sends.
constexpr int kUnlimitedMessageBytes = -1;
constexpr int kSessionsPerPage = 1000;
constexpr size_t kImportChunkBytes = 256 * 1024;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return text.str();
}

bool WantsTls(const ClientOptions& options) {
  return options.tls || !options.ca_file.empty() || !options.cert_file.empty() || !options.key_file.empty() ||
         !options.tls_server_name.empty();
}

bool IsThisMachine(absl::string_view address) {
  if (absl::StartsWith(address, "unix:")) return true;
  const absl::string_view host = address.substr(0, address.rfind(':'));
  // A host name may begin like a loopback address; the address itself has nothing but digits and dots.
  const bool loopback_ipv4 =
      absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == host.npos;
  return loopback_ipv4 || host == "localhost" || host == "[::1]";
}

// gRPC ends the process over metadata that HTTP/2 cannot carry.
bool CanBeSent(absl::string_view api_key) {
  return std::all_of(api_key.begin(), api_key.end(), [](char c) { return c >= 0x21 && c <= 0x7E; });
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const ClientOptions& options) {
  if (!WantsTls(options)) {
    if (!options.api_key.empty() && !options.allow_plaintext_key && !IsThisMachine(options.address)) {
      return absl::FailedPreconditionError(
          absl::StrCat("the API key would travel unencrypted to ", options.address,
                       "; use TLS (--tls), or --allow-plaintext-key on a network you trust"));
    }
    return grpc::InsecureChannelCredentials();
  }
  if (options.cert_file.empty() != options.key_file.empty()) {
    return absl::InvalidArgumentError("a client certificate needs its key and a key its certificate");
  }
  grpc::SslCredentialsOptions ssl;
  for (auto [path, target] :
       {std::pair(&options.ca_file, &ssl.pem_root_certs), std::pair(&options.cert_file, &ssl.pem_cert_chain),
        std::pair(&options.key_file, &ssl.pem_private_key)}) {
    if (path->empty()) continue;
    absl::StatusOr<std::string> text = ReadFile(*path);
    if (!text.ok()) return text.status();
    *target = *std::move(text);
  }
  return grpc::SslCredentials(ssl);
}

}  // namespace

std::string SessionName(absl::string_view name_or_id) {
  if (name_or_id.empty() || absl::StartsWith(name_or_id, kSessionPrefix)) return std::string(name_or_id);
  return absl::StrCat(kSessionPrefix, name_or_id);
}

std::string SessionId(absl::string_view name_or_id) {
  return std::string(absl::StripPrefix(name_or_id, kSessionPrefix));
}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  if (!CanBeSent(options.api_key)) {
    return absl::InvalidArgumentError("the API key holds a character that cannot be sent");
  }
  auto credentials = MakeCredentials(options);
  if (!credentials.ok()) return credentials.status();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kUnlimitedMessageBytes);
  if (!options.tls_server_name.empty()) arguments.SetSslTargetNameOverride(options.tls_server_name);
  // An http_proxy meant for the internet must not carry calls to this machine.
  if (IsThisMachine(options.address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return std::unique_ptr<Client>(
      new Client(options, grpc::CreateCustomChannel(options.address, *credentials, arguments)));
}

Client::Client(const ClientOptions& options, std::shared_ptr<grpc::Channel> channel)
    : api_key_(options.api_key),
      timeout_(options.timeout),
      channel_(std::move(channel)),
      inference_(v1::InferenceService::NewStub(channel_)),
      sessions_(v1::SessionService::NewStub(channel_)),
      models_(v1::ModelService::NewStub(channel_)) {}

void Client::Prepare(grpc::ClientContext* context) const {
  if (!api_key_.empty()) context->AddMetadata("authorization", absl::StrCat("Bearer ", api_key_));
  if (timeout_ != absl::InfiniteDuration()) context->set_deadline(absl::ToChronoTime(absl::Now() + timeout_));
}

template <typename Response, typename Stub, typename Method, typename Request>
absl::StatusOr<Response> Client::Unary(Stub& stub, Method method, const Request& request) const {
  if (absl::Status status = CheckUtf8(request); !status.ok()) return status;
  grpc::ClientContext context;
  Prepare(&context);
  Response response;
  const absl::Status status = ToAbslStatus((stub.*method)(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

absl::Status Client::Generate(const v1::GenerateRequest& request, const GenerateCallbacks& callbacks,
                              Cancellation* cancellation) {
  if (absl::Status status = CheckUtf8(request); !status.ok()) return status;
  grpc::ClientContext context;
  Prepare(&context);
  const ScopedAttach attach(cancellation, &context);
  auto reader = inference_->Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    if (response.has_route() && callbacks.on_route) callbacks.on_route(response.route());
    if (response.has_delta() && callbacks.on_delta) callbacks.on_delta(response.delta());
    if (response.has_done() && callbacks.on_done) callbacks.on_done(response.done());
  }
  return ToAbslStatus(reader->Finish());
}

absl::StatusOr<v1::IngestProgress> Client::Ingest(
    absl::string_view session, const TextSource& source,
    const std::function<void(const v1::IngestProgress&)>& on_progress, Cancellation* cancellation,
    const IngestOptions& options) {
  if (absl::Status status = CheckUtf8("session", session); !status.ok()) return status;
  grpc::ClientContext context;
  Prepare(&context);
  const ScopedAttach attach(cancellation, &context);
  auto stream = inference_->Ingest(&context);

  // Text goes up on its own thread: reading progress must never wait for a slow source.
  std::atomic<bool> ended = false;
  absl::Status source_status;
  std::thread writer([&] {
    v1::IngestRequest request;
    request.set_session(SessionName(session));
    request.set_score(options.score);
    bool open = stream->Write(request);
    while (open && !ended) {
      const absl::StatusOr<bool> more = source(request.mutable_text());
      if (!more.ok()) {
        source_status = more.status();
        context.TryCancel();
        return;
      }
      if (!*more) break;
      if (request.text().empty()) continue;
      request.clear_session();
      request.clear_score();
      open = stream->Write(request);
    }
    if (open) stream->WritesDone();
  });

  v1::IngestProgress progress;
  while (stream->Read(&progress)) {
    if (on_progress) on_progress(progress);
  }
  ended = true;
  writer.join();
  const absl::Status status = ToAbslStatus(stream->Finish());
  if (!source_status.ok()) return source_status;
  if (!status.ok()) return status;
  return progress;
}

absl::StatusOr<v1::CountTokensResponse> Client::CountTokens(const v1::CountTokensRequest& request) {
  return Unary<v1::CountTokensResponse>(*inference_, &v1::InferenceService::Stub::CountTokens, request);
}

absl::StatusOr<v1::Session> Client::CreateSession(const v1::CreateSessionRequest& request) {
  return Unary<v1::Session>(*sessions_, &v1::SessionService::Stub::CreateSession, request);
}

absl::StatusOr<v1::Session> Client::GetSession(absl::string_view session) {
  v1::GetSessionRequest request;
  request.set_name(SessionName(session));
  return Unary<v1::Session>(*sessions_, &v1::SessionService::Stub::GetSession, request);
}

absl::StatusOr<v1::SessionMemory> Client::GetSessionMemory(v1::GetSessionMemoryRequest request) {
  request.set_name(SessionName(request.name()));
  return Unary<v1::SessionMemory>(*sessions_, &v1::SessionService::Stub::GetSessionMemory, request);
}

absl::StatusOr<std::vector<v1::Session>> Client::ListSessions() {
  std::vector<v1::Session> all;
  v1::ListSessionsRequest request;
  request.set_page_size(kSessionsPerPage);
  do {
    auto page = Unary<v1::ListSessionsResponse>(*sessions_, &v1::SessionService::Stub::ListSessions, request);
    if (!page.ok()) return page.status();
    all.insert(all.end(), page->sessions().begin(), page->sessions().end());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return all;
}

absl::StatusOr<v1::Session> Client::ResetSession(absl::string_view session) {
  v1::ResetSessionRequest request;
  request.set_name(SessionName(session));
  return Unary<v1::Session>(*sessions_, &v1::SessionService::Stub::ResetSession, request);
}

absl::StatusOr<v1::Session> Client::ForkSession(absl::string_view session, absl::string_view new_id) {
  v1::ForkSessionRequest request;
  request.set_name(SessionName(session));
  request.set_session_id(SessionId(new_id));
  return Unary<v1::Session>(*sessions_, &v1::SessionService::Stub::ForkSession, request);
}

absl::Status Client::DeleteSession(absl::string_view session) {
  v1::DeleteSessionRequest request;
  request.set_name(SessionName(session));
  return Unary<google::protobuf::Empty>(*sessions_, &v1::SessionService::Stub::DeleteSession, request)
      .status();
}

absl::Status Client::ExportSession(absl::string_view session,
                                   absl::FunctionRef<absl::Status(absl::string_view)> sink) {
  if (absl::Status status = CheckUtf8("session", session); !status.ok()) return status;
  grpc::ClientContext context;
  Prepare(&context);
  v1::ExportSessionRequest request;
  request.set_name(SessionName(session));
  auto reader = sessions_->ExportSession(&context, request);
  absl::Status sink_status;
  v1::ExportSessionResponse response;
  while (sink_status.ok() && reader->Read(&response)) sink_status = sink(response.chunk());
  if (!sink_status.ok()) context.TryCancel();
  const absl::Status status = ToAbslStatus(reader->Finish());
  return sink_status.ok() ? status : sink_status;
}

absl::StatusOr<v1::Session> Client::ImportSession(absl::string_view new_id, const TextSource& source) {
  if (absl::Status status = CheckUtf8("session_id", new_id); !status.ok()) return status;
  grpc::ClientContext context;
  Prepare(&context);
  v1::Session session;
  auto writer = sessions_->ImportSession(&context, &session);
  v1::ImportSessionRequest request;
  request.set_session_id(SessionId(new_id));
  absl::Status source_status;
  bool open = writer->Write(request);
  std::string chunk;
  while (open) {
    const absl::StatusOr<bool> more = source(&chunk);
    if (!more.ok()) {
      source_status = more.status();
      context.TryCancel();
      break;
    }
    if (!*more) break;
    for (size_t begin = 0; open && begin < chunk.size(); begin += kImportChunkBytes) {
      request.clear_session_id();
      request.set_chunk(chunk.substr(begin, kImportChunkBytes));
      open = writer->Write(request);
    }
  }
  writer->WritesDone();
  const absl::Status status = ToAbslStatus(writer->Finish());
  if (!source_status.ok()) return source_status;
  if (!status.ok()) return status;
  return session;
}

absl::StatusOr<std::vector<v1::Model>> Client::ListModels() {
  auto response =
      Unary<v1::ListModelsResponse>(*models_, &v1::ModelService::Stub::ListModels, v1::ListModelsRequest());
  if (!response.ok()) return response.status();
  return std::vector<v1::Model>(response->models().begin(), response->models().end());
}

}  // namespace memgate
