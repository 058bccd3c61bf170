#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <exception>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/address.h"
#include "server/collectors.h"
#include "server/malformed_requests.h"
#include "server/tls.h"

namespace memgate {
namespace {

constexpr absl::Duration kReplayRetention = absl::Minutes(10);  // as promised in inference.proto
constexpr int64_t kReplayBytes = int64_t{16} << 20;             // some thousand answers of ordinary length
constexpr absl::Duration kReaperInterval = absl::Seconds(5);
// After the last turn has ended, only messages that wait for their client are left to send.
constexpr std::chrono::seconds kSendGrace(2);
constexpr int kMaxStreamsPerConnection = 1024;
// Finds clients that vanished without a word, which would otherwise hold their session.
constexpr int kKeepaliveTimeMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kMinClientPingIntervalMs = 10'000;

AuthMode ModeOf(const Options& options) {
  if (!options.api_keys.empty()) return AuthMode::kApiKeys;
  return options.uses_mtls() ? AuthMode::kClientCertificate : AuthMode::kNone;
}

// Whether somebody accepts connections on the Unix socket `path`.
bool SomebodyListens(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return false;
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const bool listens = result == 0 || errno == EAGAIN;  // EAGAIN: more wait than the listener takes
  close(fd);
  return listens;
}

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

std::string ServerVersion() { return MEMGATE_VERSION; }

Server::Server(const Options& options, Engine& engine, Log& log, Clock clock, AuthMode mode,
               std::optional<ApiKeys> keys)
    : options_(options),
      engine_(engine),
      log_(log),
      clock_(std::move(clock)),
      authenticator_(mode, std::move(keys), options.uses_mtls()),
      sessions_(
          engine,
          {.max_sessions = options.max_sessions, .max_sessions_per_tenant = options.max_sessions_per_tenant},
          clock_),
      replays_(kReplayRetention, kReplayBytes, clock_),
      transfers_([&engine](int64_t bytes) { return engine.Reserve(bytes, "the snapshot"); }),
      context_{.engine = engine_,
               .sessions = sessions_,
               .replays = replays_,
               .transfers = transfers_,
               .authenticator = authenticator_,
               .metrics = metrics_,
               .log = log_,
               .limits = {.generate = {.max_tokens = options.max_tokens_limit,
                                       .max_format_bytes = options.max_format_bytes},
                          .default_ttl = options.session_ttl},
               .clock = clock_,
               .random_seed = RandomSeed,
               .draining = draining_},
      inference_(context_),
      session_service_(context_),
      model_service_(context_),
      engine_collector_(std::make_shared<EngineCollector>(engine_)),
      process_collector_(std::make_shared<ProcessCollector>(ServerVersion())) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options, Engine& engine, Log& log,
                                                      Clock clock) {
  std::optional<ApiKeys> keys;
  if (!options.api_keys.empty()) {
    auto loaded = ApiKeys::Load(options.api_keys);
    if (!loaded.ok()) return loaded.status();
    keys = *std::move(loaded);
    if (const std::string warning = KeyFileWarning(options.api_keys); !warning.empty()) {
      log.Warning("api_keys", {{"message", warning}});
    }
  }
  std::unique_ptr<Server> server(
      new Server(options, engine, log, std::move(clock), ModeOf(options), std::move(keys)));
  if (auto s = server->ListenForMetrics(); !s.ok()) return s;
  if (auto s = server->Listen(); !s.ok()) return s;
  server->reaper_ = std::make_unique<PeriodicTask>(kReaperInterval, [server = server.get()] {
    const int removed = server->sessions_.RemoveExpired();
    if (removed == 0) return;
    server->metrics_.CountExpired(removed);
    server->log_.Info("sessions_expired", {{"sessions", removed}});
  });
  return server;
}

absl::Status Server::Listen() {
  auto address = ParseListenAddress(options_.listen);
  if (!address.ok()) return address.status();
  auto credentials = MakeServerCredentials(options_);
  if (!credentials.ok()) return credentials.status();

  // gRPC takes over a socket that is there, which is right only for one that a dead server left.
  if (address->is_unix() && SomebodyListens(address->unix_path)) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options_.listen, ": another server listens there"));
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address->ToString(), *credentials, &port);
  builder.RegisterService(&inference_);
  builder.RegisterService(&session_service_);
  builder.RegisterService(&model_service_);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options_.max_message_bytes));
  // Without this a second server on the same port would start and get half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinClientPingIntervalMs);
  // Only reflection uses the synchronous API.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(MakeMalformedRequestInterceptors());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || (port == 0 && !address->is_unix())) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.listen,
                                               ": in use, not permitted, or not an address of this machine"));
  }
  if (!address->is_unix()) port_ = address->port = port;
  address_ = address->ToString();
  for (const char* service :
       {"memgate.v1.InferenceService", "memgate.v1.SessionService", "memgate.v1.ModelService"}) {
    grpc_->GetHealthCheckService()->SetServingStatus(service, true);
  }
  return absl::OkStatus();
}

absl::Status Server::ListenForMetrics() {
  if (options_.metrics_listen == "off") return absl::OkStatus();
  auto address = ParseListenAddress(options_.metrics_listen);
  if (!address.ok()) return address.status();
  if (address->is_unix()) {
    return absl::InvalidArgumentError(
        "--metrics-listen: Prometheus scrapes over TCP; write host:port or off");
  }
  if (!address->is_local()) {
    log_.Warning("metrics_public",
                 {{"message", "metrics are served to other machines without authentication"},
                  {"address", options_.metrics_listen}});
  }
  if (address->host == "localhost") address->host = "127.0.0.1";  // the HTTP server takes numbers only
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(address->ToString());
  } catch (const std::exception&) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", options_.metrics_listen,
                     ": in use or not permitted; choose another --metrics-listen, or off"));
  }
  exposer_->RegisterCollectable(metrics_.registry());
  exposer_->RegisterCollectable(engine_collector_);
  exposer_->RegisterCollectable(process_collector_);
  return absl::OkStatus();
}

int Server::metrics_port() const {
  if (exposer_ == nullptr) return 0;
  const std::vector<int> ports = exposer_->GetListeningPorts();
  return ports.empty() ? 0 : ports.front();
}

void Server::Drain(absl::Duration timeout) {
  draining_.store(true, std::memory_order_release);
  grpc_->GetHealthCheckService()->SetServingStatus(false);
  engine_.Drain(clock_() + timeout);
  grpc_->Shutdown(std::chrono::system_clock::now() + kSendGrace);
}

absl::Status Server::ReloadKeys() {
  if (authenticator_.mode() != AuthMode::kApiKeys) {
    return absl::FailedPreconditionError("this server was started without --api-keys");
  }
  auto keys = ApiKeys::Load(options_.api_keys);
  if (!keys.ok()) return keys.status();
  authenticator_.ReplaceKeys(*std::move(keys));
  return absl::OkStatus();
}

Server::~Server() {
  reaper_.reset();
  if (grpc_ != nullptr) grpc_->Shutdown(std::chrono::system_clock::now());
}

}  // namespace memgate
