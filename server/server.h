// The running server: services, sessions, metrics and sockets around one engine.
#ifndef MEMGATE_SERVER_SERVER_H_
#define MEMGATE_SERVER_SERVER_H_

#include <grpcpp/server.h>
#include <prometheus/exposer.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "server/auth.h"
#include "server/inference_service.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/model_service.h"
#include "server/options.h"
#include "server/periodic_task.h"
#include "server/replay_cache.h"
#include "server/service_context.h"
#include "server/session_registry.h"
#include "server/session_service.h"
#include "server/transfer_bytes.h"

namespace memgate {

class Server {
 public:
  using Clock = std::function<absl::Time()>;

  // Listens when it returns. `options` must pass ValidateForServing; engine and log must outlive the server.
  // INVALID_ARGUMENT (keys, certificates), UNAVAILABLE (an address cannot be bound).
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options, Engine& engine, Log& log,
                                                       Clock clock = absl::Now);
  // Cancels what still runs.
  ~Server();

  // Where it listens, with the port that the system chose: "127.0.0.1:43211", "unix:/run/memgate.sock".
  const std::string& address() const { return address_; }
  int port() const { return port_; }  // 0 for a Unix socket
  int metrics_port() const;           // 0 if off

  // Health turns NOT_SERVING, new turns are refused, running ones may go on until `timeout`. Returns when the
  // last call has ended.
  void Drain(absl::Duration timeout);
  // Reads the API key file again; on an error the old keys stay. FAILED_PRECONDITION without a key file.
  absl::Status ReloadKeys();

  SessionRegistry& sessions() { return sessions_; }

 private:
  Server(const Options& options, Engine& engine, Log& log, Clock clock, AuthMode mode,
         std::optional<ApiKeys> keys);
  absl::Status Listen();
  absl::Status ListenForMetrics();

  const Options options_;
  Engine& engine_;
  Log& log_;
  const Clock clock_;
  std::atomic<bool> draining_{false};
  Authenticator authenticator_;
  Metrics metrics_;
  SessionRegistry sessions_;
  ReplayCache replays_;
  TransferBytes transfers_;
  ServiceContext context_;
  InferenceService inference_;
  SessionService session_service_;
  ModelService model_service_;
  std::shared_ptr<prometheus::Collectable> engine_collector_;
  std::shared_ptr<prometheus::Collectable> process_collector_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  std::string address_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<PeriodicTask> reaper_;
};

// The version that --version and memgate_build_info report.
std::string ServerVersion();

}  // namespace memgate

#endif  // MEMGATE_SERVER_SERVER_H_
