// The only door to the engine: load a model, create sessions, run turns.
#ifndef MEMGATE_ENGINE_ENGINE_H_
#define MEMGATE_ENGINE_ENGINE_H_

#include <functional>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/checkpoint/model_config.h"
#include "engine/kernels/kv_rows.h"
#include "engine/kernels/weight_format.h"
#include "engine/memory/module_base.h"
#include "engine/scheduling/turn.h"
#include "engine/session/byte_accountant.h"
#include "engine/session/memory_report.h"
#include "engine/session/shape.h"
#include "engine/structured/output_format.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "engine/weight_cache_options.h"

namespace memgate {

inline constexpr char kNoMemoryModules[] = "none";

struct EngineOptions {
  std::string model_path;  // a folder in the Hugging Face layout, or a GGUF file
  // Folder with memory.json and memory.safetensors; empty = those that lie with the model, if any;
  // kNoMemoryModules = none, whatever lies there.
  std::string memory_folder;
  BaseRule memory_base = BaseRule::kSame;  // of all modules
  // None: chosen by the model's size (engine/weight_choice.h).
  std::optional<WeightFormat> weights = WeightFormat::kF32;
  KvFormat kv = KvFormat::kF32;                    // keys and values of every session
  int64_t memory_budget_bytes = int64_t{1} << 30;  // weights, sessions and work buffers together
  // Largest exact context of an ephemeral request; its bytes come out of the budget. Unit: tokens.
  int64_t exact_limit_tokens = 4096;
  int max_batch_tokens = 256;  // tokens of one step
  int max_active_turns = 64;   // turns that share steps; others wait
  int max_queued_turns = 256;  // turns that may wait
  int threads = 0;             // compute threads; 0 = one per core
  std::function<absl::Time()> clock = absl::Now;
  WeightCacheOptions weight_cache;
  // Called while weights are packed or mapped: parts done and parts in all.
  std::function<void(int done, int total)> load_progress = [](int, int) {};
  // Where session state comes from; must outlive the engine.
  std::pmr::memory_resource* session_memory = std::pmr::new_delete_resource();
};

// A memory kind that sessions can have on this engine.
struct MemoryKindInfo {
  std::string kind;
  bool trained = false;
  SessionShape default_shape;
  int64_t default_session_bytes = 0;
};

struct ModelInfo {
  std::string name;  // last component of the path, without ".gguf"
  ModelConfig config;
  int64_t parameters = 0;
  WeightFormat weights = WeightFormat::kF32;
  std::string weights_reason;  // why it was chosen; empty if it was asked for
  int64_t weight_bytes = 0;
  KvFormat kv_format = KvFormat::kF32;
  // Of a full cache in the same format, in all layers: those with a window of their own stop growing at it.
  int64_t full_kv_bytes_per_token = 0;
  std::string fingerprint;           // of all tensors
  std::string settings_fingerprint;  // ConfigFingerprint
  std::string default_memory_kind;
  std::vector<MemoryKindInfo> memory_kinds;
  std::vector<MemoryModuleInfo> memory_modules;
  bool has_chat_template = false;  // that can be used for messages without tools
  GenerationDefaults generation;
};

struct SessionOptions {
  std::string memory_kind;                                 // empty = the model's default
  std::optional<int32_t> sinks, window, segment, salient;  // absent = the kind's default
  // If positive, `window` is chosen as the largest with session bytes <= this.
  int64_t max_bytes = 0;
};

struct SessionInfo {
  std::string memory_kind;
  SessionShape shape;
  KvFormat kv_format = KvFormat::kF32;
  int64_t bytes = 0;          // fixed for the session's life
  int64_t chat_bytes = 0;     // kept of its chat beside them: at most ChatTail::kMaxBytes
  int64_t full_kv_bytes = 0;  // of a full cache for the same tokens in the same format
  TokenAccounting accounting;
  int64_t memory_writes = 0;  // folding events
  int64_t turns = 0;          // answers finished
  bool busy = false;
};

// A point-in-time reading of the engine's gauges and counters. Counters only grow.
struct EngineStats {
  int64_t budget_bytes = 0;
  int64_t reserved_bytes = 0;  // weights, work buffers, sessions
  int64_t weight_bytes = 0;
  int64_t work_bytes = 0;
  int active_turns = 0;
  int queued_turns = 0;
  int64_t steps = 0;          // counter: forward passes
  int64_t step_tokens = 0;    // counter: tokens processed
  int64_t memory_writes = 0;  // counter: folding events
  int64_t folded_tokens = 0;  // counter
  struct KindStats {
    std::string kind;
    int64_t sessions = 0;
    int64_t bytes = 0;
  };
  std::vector<KindStats> sessions_by_kind;
};

// Loads one model and serves turns on it. Thread-safe. Sessions may outlive the engine; everything else must
// not.
//
// Usage:
//   auto engine = Engine::Load(options);
//   auto session = (*engine)->CreateSession({});
//   auto lease = (*engine)->Acquire(*session);           // ABORTED while another turn runs
//   TurnRequest request{.lease = *lease, .tokens = ...};
//   std::shared_ptr<Turn> turn = (*engine)->Submit(std::move(request), observer);
//   (*engine)->Cancel(turn);                              // optional; takes effect between two steps
class Engine {
 public:
  // NOT_FOUND, INVALID_ARGUMENT, UNIMPLEMENTED for a bad model or memory module (message names file and
  // reason), FAILED_PRECONDITION for a module of another model, RESOURCE_EXHAUSTED when the weights exceed
  // the budget.
  static absl::StatusOr<std::unique_ptr<Engine>> Load(EngineOptions options);
  virtual ~Engine() = default;

  virtual const ModelInfo& model() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  // With the model's template for such variables. FAILED_PRECONDITION (NO_CHAT_TEMPLATE) if the model ships
  // none that can be used; others as of ChatTemplate::Render.
  virtual absl::StatusOr<std::string> RenderChat(const std::vector<ChatTurn>& messages,
                                                 const ChatVariables& variables, bool first_turn) const = 0;

  // What makes answers take a form; for TurnRequest::constraint. Equal formats share one while it is in use
  // or among the latest. INVALID_ARGUMENT "POINTER: why" (schema) or "line, column: why" (grammar);
  // RESOURCE_EXHAUSTED if the budget or the work that one token may take does not allow it.
  virtual absl::StatusOr<std::shared_ptr<TokenConstraint>> Constrain(const OutputFormat& format) = 0;

  // INVALID_ARGUMENT (kind, shape), RESOURCE_EXHAUSTED (budget). Bytes are reserved before they are allocated
  // and released with the last reference.
  virtual absl::StatusOr<std::shared_ptr<Session>> CreateSession(const SessionOptions& options) = 0;
  // The bytes CreateSession would reserve, and the shape it would use.
  virtual absl::StatusOr<SessionInfo> PlanSession(const SessionOptions& options) const = 0;
  virtual SessionInfo Describe(const Session& session) const = 0;

  // At most one lease per session exists: ABORTED while another one lives.
  virtual absl::StatusOr<std::shared_ptr<SessionLease>> Acquire(const std::shared_ptr<Session>& session) = 0;
  // A copy with its own bytes. RESOURCE_EXHAUSTED (budget).
  virtual absl::StatusOr<std::shared_ptr<Session>> Fork(const SessionLease& lease) = 0;
  // What the session's memory looks like now; see memory_report.h. REQUIRES: no turn runs on the lease.
  virtual MemoryReport ReportMemory(const SessionLease& lease, RetainedPositions positions) const = 0;
  // Empties the session.
  virtual void Reset(SessionLease& lease) = 0;
  // The session as bytes (docs/formats.md); a restored session continues as if never interrupted.
  virtual absl::StatusOr<std::string> Export(const SessionLease& lease) const = 0;
  // INVALID_ARGUMENT for malformed bytes, FAILED_PRECONDITION for another model, memory module or KV
  // format, RESOURCE_EXHAUSTED (budget).
  virtual absl::StatusOr<std::shared_ptr<Session>> Import(std::string_view snapshot) = 0;

  // Queues a turn. Errors that need no model work come back here and `observer` is never called:
  // INVALID_ARGUMENT, RESOURCE_EXHAUSTED (queue full), UNAVAILABLE (draining). Everything later arrives
  // through `observer`: FAILED_PRECONDITION (exact path impossible) among them.
  virtual absl::StatusOr<std::shared_ptr<Turn>> Submit(TurnRequest request,
                                                       std::shared_ptr<TurnObserver> observer) = 0;
  // The turn ends with CANCELLED between two steps; harmless if it has ended.
  virtual void Cancel(const std::shared_ptr<Turn>& turn) = 0;

  // Refuses new turns from now on. Running ones go on until `deadline`; generating turns are then cut (kCut),
  // others end with UNAVAILABLE (DRAINING). Blocks until all are done.
  virtual void Drain(absl::Time deadline) = 0;

  // Takes bytes out of the memory budget for something that the caller holds. RESOURCE_EXHAUSTED
  // (MEMORY_BUDGET). The reservation must not outlive the engine.
  virtual absl::StatusOr<Reservation> Reserve(int64_t bytes, std::string_view what) = 0;

  virtual EngineStats Stats() const = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_ENGINE_H_
