// What the services share: the engine, what the server keeps, and its limits.
#ifndef MEMGATE_SERVER_SERVICE_CONTEXT_H_
#define MEMGATE_SERVER_SERVICE_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "engine/engine.h"
#include "server/auth.h"
#include "server/generate_request.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/replay_cache.h"
#include "server/session_registry.h"
#include "server/transfer_bytes.h"

namespace memgate {

struct ServiceLimits {
  GenerateLimits generate;
  absl::Duration default_ttl;
};

// All of it outlives every call.
struct ServiceContext {
  Engine& engine;
  SessionRegistry& sessions;
  ReplayCache& replays;
  TransferBytes& transfers;
  const Authenticator& authenticator;
  Metrics& metrics;
  Log& log;
  ServiceLimits limits;
  std::function<absl::Time()> clock;
  std::function<uint64_t()> random_seed;
  const std::atomic<bool>& draining;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_SERVICE_CONTEXT_H_
