#include "engine/engine.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/algorithm/container.h"
#include "engine/base/strings.h"
#include "engine/loaded_model.h"
#include "engine/output_constraints.h"
#include "engine/scheduling/scheduler.h"
#include "engine/scheduling/session.h"
#include "engine/scheduling/status_reason.h"
#include "engine/session/snapshot.h"

namespace memgate {
namespace {

// An ephemeral request may not push the reserved bytes over this share of the budget for an exact context
// that the gated path could serve with fewer.
constexpr double kPressureShare = 0.9;
constexpr int64_t kMaxWindow = 1 << 20;                        // tokens; SessionShape::Validate
constexpr int64_t kMaxNewTokens = int64_t{1} << 40;            // keeps sums of token counts far from overflow
constexpr int64_t kPromptBytesPerToken = 2 * sizeof(TokenId);  // the turn's copy and its caller's

class EngineImpl : public Engine {
 public:
  explicit EngineImpl(LoadedModel model)
      : model_(std::make_shared<LoadedModel>(std::move(model))),
        constraints_(*model_->tokenizer, model_->info.config.vocab_size, model_->eos_ids,
                     *model_->accountant),
        scheduler_(*model_->transformer,
                   {model_->tokenizer.get(), model_->info.config.vocab_size, model_->eos_ids},
                   {.max_batch_tokens = model_->options.max_batch_tokens,
                    .max_active_turns = model_->options.max_active_turns,
                    .max_queued_turns = model_->options.max_queued_turns,
                    .threads = model_->options.threads,
                    .clock = model_->options.clock},
                   [this](const TurnRequest& request) { return Admit(request); }) {
    const ModelWeights& weights = model_->transformer->weights();
    if (model_->options.weight_cache.write != WeightCacheOptions::Write::kInBackground ||
        !model_->weight_store->Wants(weights)) {
      return;
    }
    try {
      weight_writer_ = std::jthread([&model = *model_, &weights](const std::stop_token& stop) {
        model.weight_store->Write(model.info.fingerprint, *model.tensors, weights, stop);
      });
    } catch (const std::system_error& error) {  // no thread to be had: an engine without it serves as well
      model_->weight_store->ReportNotWritten("weights", error.what());
    }
  }

  const ModelInfo& model() const override { return model_->info; }
  const Tokenizer& tokenizer() const override { return *model_->tokenizer; }
  absl::StatusOr<std::string> RenderChat(const std::vector<ChatTurn>& messages,
                                         const ChatVariables& variables, bool first_turn) const override;

  absl::StatusOr<std::shared_ptr<TokenConstraint>> Constrain(const OutputFormat& format) override {
    return constraints_.Get(format);
  }

  absl::StatusOr<std::shared_ptr<Session>> CreateSession(const SessionOptions& options) override;
  absl::StatusOr<SessionInfo> PlanSession(const SessionOptions& options) const override;
  SessionInfo Describe(const Session& session) const override;

  absl::StatusOr<std::shared_ptr<SessionLease>> Acquire(const std::shared_ptr<Session>& session) override {
    return SessionLease::Acquire(session);
  }
  absl::StatusOr<std::shared_ptr<Session>> Fork(const SessionLease& lease) override;
  MemoryReport ReportMemory(const SessionLease& lease, RetainedPositions positions) const override {
    return memgate::ReportMemory(lease.state(), lease.pending_token() != kNoToken, positions);
  }
  void Reset(SessionLease& lease) override;
  absl::StatusOr<std::string> Export(const SessionLease& lease) const override;
  absl::StatusOr<std::shared_ptr<Session>> Import(std::string_view snapshot) override;

  absl::StatusOr<std::shared_ptr<Turn>> Submit(TurnRequest request,
                                               std::shared_ptr<TurnObserver> observer) override;
  void Cancel(const std::shared_ptr<Turn>& turn) override { scheduler_.Cancel(turn); }
  void Drain(absl::Time deadline) override { scheduler_.Drain(deadline); }
  absl::StatusOr<Reservation> Reserve(int64_t bytes, std::string_view what) override {
    return ReserveBytes(*model_->accountant, bytes, what);
  }
  EngineStats Stats() const override;

 private:
  SessionContext Context(const KindEntry& entry) const {
    return {&model_->info.config, entry.kind.get(), &model_->transformer->ropes(), model_->options.kv};
  }
  absl::StatusOr<SessionShape> ResolveShape(const KindEntry& entry, const SessionOptions& options) const;
  absl::StatusOr<int32_t> LargestWindow(const KindEntry& entry, SessionShape shape, int64_t max_bytes) const;
  absl::StatusOr<std::shared_ptr<Session>> MakeSession(KindEntry& entry, const SessionShape& shape);
  KindEntry& EntryOf(const Session& session) const { return **model_->kinds->Find(session.kind().name()); }
  absl::StatusOr<Admission> Admit(const TurnRequest& request);
  absl::StatusOr<std::shared_ptr<SessionLease>> EphemeralLease(Path path, int64_t total_tokens);
  RouteInput DescribeRoute(const TurnRequest& request) const;
  int64_t ExactShapeBytes(int64_t tokens) const;
  absl::StatusOr<KindEntry*> MatchSnapshot(const SnapshotHeader& header) const;

  const std::shared_ptr<const LoadedModel> model_;  // sessions hold it, too
  OutputConstraints constraints_;
  Scheduler scheduler_;
  std::jthread weight_writer_;  // ends, soon, before the others go
};

absl::StatusOr<std::string> EngineImpl::RenderChat(const std::vector<ChatTurn>& messages,
                                                   const ChatVariables& variables, bool first_turn) const {
  const auto chat_template = model_->chat_templates.For(variables);
  if (!chat_template.ok()) {
    return WithReason(absl::FailedPreconditionError(Concat("this model cannot take chat messages",
                                                           variables.tools.empty() ? "" : " with tools", ": ",
                                                           chat_template.status().message())),
                      "NO_CHAT_TEMPLATE");
  }
  ChatRenderOptions options = RenderOptions(*model_);
  options.variables = variables;
  if (!first_turn) options.bos_token.clear();
  return (*chat_template)->Render(messages, options);
}

// The largest window for which a session of `shape` costs at most `max_bytes` and fits the model.
absl::StatusOr<int32_t> EngineImpl::LargestWindow(const KindEntry& entry, SessionShape shape,
                                                  int64_t max_bytes) const {
  const SessionContext context = Context(entry);
  const auto bytes_at = [&](int64_t window) {
    shape.window = static_cast<int32_t>(window);
    return SessionState::Bytes(context, shape).total();
  };
  const ModelConfig& config = model_->info.config;
  const int64_t limit = config.sliding_window();
  int64_t layers = 0;  // that hold the whole window
  for (int l = 0; l < config.num_layers; ++l) layers += limit > 0 || config.layer(l).window == 0;
  const int64_t token_bytes =
      2 * layers * config.num_kv_heads * KvRowBytes(context.kv_format, config.head_dim);
  int64_t window = max_bytes / token_bytes - shape.sinks - shape.segment - shape.salient;
  window = std::min(window, kMaxWindow);
  if (limit > 0) window = std::min(window, limit - shape.sinks - shape.segment);
  // From the top, one by one: bytes grow with the window, but not where a layer's own window ends.
  while (window > 0 && bytes_at(window) > max_bytes) --window;
  if (window < 1) {
    return absl::InvalidArgumentError(
        Concat("max_session_bytes: ", max_bytes, " is less than the smallest session, ", bytes_at(1)));
  }
  return static_cast<int32_t>(window);
}

absl::StatusOr<SessionShape> EngineImpl::ResolveShape(const KindEntry& entry,
                                                      const SessionOptions& options) const {
  SessionShape shape = entry.default_shape;
  shape.sinks = options.sinks.value_or(shape.sinks);
  shape.window = options.window.value_or(shape.window);
  shape.segment = options.segment.value_or(shape.segment);
  shape.salient = options.salient.value_or(shape.salient);
  if (auto s = shape.Validate(); !s.ok()) return s;
  if (shape.salient > 0 && !entry.kind->HasRetention()) {
    return absl::InvalidArgumentError(
        Concat("salient_tokens: kind '", entry.kind->name(), "' has no retention score; must be 0"));
  }
  if (options.max_bytes > 0) {
    auto window = LargestWindow(entry, shape, options.max_bytes);
    if (!window.ok()) return window.status();
    shape.window = *window;
  }
  if (auto s = CheckFitsModel(shape, model_->info.config); !s.ok()) return s;
  return shape;
}

absl::StatusOr<std::shared_ptr<Session>> EngineImpl::MakeSession(KindEntry& entry,
                                                                 const SessionShape& shape) {
  const SessionContext context = Context(entry);
  const int64_t bytes = SessionState::Bytes(context, shape).total();
  auto reservation = ReserveBytes(*model_->accountant, bytes, "the session");
  if (!reservation.ok()) return reservation.status();
  entry.sessions += 1;
  entry.session_bytes += bytes;
  return std::shared_ptr<Session>(
      new Session(context, shape, *std::move(reservation), model_->options.session_memory),
      [model = model_, &entry, bytes](Session* session) {
        delete session;
        entry.sessions -= 1;
        entry.session_bytes -= bytes;
      });
}

absl::StatusOr<std::shared_ptr<Session>> EngineImpl::CreateSession(const SessionOptions& options) {
  auto entry = model_->kinds->Find(options.memory_kind);
  if (!entry.ok()) return entry.status();
  auto shape = ResolveShape(**entry, options);
  if (!shape.ok()) return shape.status();
  return MakeSession(**entry, *shape);
}

absl::StatusOr<SessionInfo> EngineImpl::PlanSession(const SessionOptions& options) const {
  auto entry = model_->kinds->Find(options.memory_kind);
  if (!entry.ok()) return entry.status();
  auto shape = ResolveShape(**entry, options);
  if (!shape.ok()) return shape.status();
  SessionInfo info;
  info.memory_kind = (*entry)->kind->name();
  info.shape = *shape;
  info.kv_format = model_->options.kv;
  info.bytes = SessionState::Bytes(Context(**entry), *shape).total();
  return info;
}

SessionInfo EngineImpl::Describe(const Session& session) const {
  const SessionFill fill = session.fill();
  SessionInfo info;
  info.memory_kind = session.kind().name();
  info.shape = session.shape();
  info.kv_format = session.kv_format();
  info.bytes = session.bytes();
  info.accounting = fill.accounting;
  info.full_kv_bytes = FullKvBytes(model_->info.config, model_->options.kv, fill.accounting.total);
  info.memory_writes = fill.memory_writes;
  info.turns = fill.turns;
  info.chat_bytes = fill.chat_bytes;
  info.busy = session.busy();
  return info;
}

absl::StatusOr<std::shared_ptr<Session>> EngineImpl::Fork(const SessionLease& lease) {
  auto copy = MakeSession(EntryOf(*lease.session()), lease.session()->shape());
  if (!copy.ok()) return copy.status();
  auto copy_lease = SessionLease::Acquire(*copy);
  if (!copy_lease.ok()) return copy_lease.status();
  (*copy_lease)->state().CopyFrom(lease.state());
  (*copy_lease)->set_pending_token(lease.pending_token());
  (*copy_lease)->set_turns(lease.turns());
  (*copy_lease)->set_chat_tail(lease.chat_tail());
  return copy;
}

void EngineImpl::Reset(SessionLease& lease) {
  lease.Clear();
  lease.Publish();
}

absl::StatusOr<std::string> EngineImpl::Export(const SessionLease& lease) const {
  const Session& session = *lease.session();
  if (!lease.state().settled()) {
    // A forward pass failed; the next turn brings the two together again.
    return absl::InternalError("the session's last turn failed within a step; run a turn, then export again");
  }
  return EncodeSnapshot({.model_fingerprint = model_->info.fingerprint,
                         .model_settings = model_->info.settings_fingerprint,
                         .memory_kind = std::string(session.kind().name()),
                         .memory_fingerprint = EntryOf(session).module_fingerprint,
                         .kv_format = session.kv_format(),
                         .shape = session.shape(),
                         .length = lease.state().length(),
                         .pending_token = lease.pending_token(),
                         .turns = lease.turns(),
                         .chat = lease.chat_tail()},
                        lease.state());
}

// The kind of the snapshot's session; SNAPSHOT_MISMATCH if it cannot go on here.
absl::StatusOr<KindEntry*> EngineImpl::MatchSnapshot(const SnapshotHeader& header) const {
  const auto mismatch = [](std::string_view what, std::string_view theirs, std::string_view ours) {
    return WithReason(absl::FailedPreconditionError(Concat("the snapshot's ", what, " is '", theirs,
                                                           "', this server's is '", ours, "'")),
                      "SNAPSHOT_MISMATCH");
  };
  if (header.model_fingerprint != model_->info.fingerprint) {
    return mismatch("model fingerprint", header.model_fingerprint, model_->info.fingerprint);
  }
  // Older snapshots do not say.
  if (!header.model_settings.empty() && header.model_settings != model_->info.settings_fingerprint) {
    return mismatch("model configuration", header.model_settings, model_->info.settings_fingerprint);
  }
  auto entry = model_->kinds->Find(header.memory_kind);
  if (!entry.ok() || header.memory_kind.empty()) {
    return mismatch("memory kind", header.memory_kind, model_->kinds->default_kind().kind->name());
  }
  if (header.memory_fingerprint != (*entry)->module_fingerprint) {
    return mismatch("memory module", header.memory_fingerprint, (*entry)->module_fingerprint);
  }
  if (header.kv_format != model_->options.kv) {
    return mismatch("KV format", KvFormatName(header.kv_format), KvFormatName(model_->options.kv));
  }
  return entry;
}

absl::StatusOr<std::shared_ptr<Session>> EngineImpl::Import(std::string_view snapshot) {
  auto view = ParseSnapshot(snapshot);
  if (!view.ok()) return WithReason(view.status(), "SNAPSHOT_INVALID");
  const SnapshotHeader& header = view->header;
  const auto entry = MatchSnapshot(header);
  if (!entry.ok()) return entry.status();
  const SessionShape& shape = header.shape;
  const int vocab_size = model_->info.config.vocab_size;
  if (header.pending_token >= vocab_size ||
      absl::c_any_of(header.chat.answer, [vocab_size](int32_t id) { return id < 0 || id >= vocab_size; }) ||
      (shape.salient > 0 && !(*entry)->kind->HasRetention()) ||
      SessionState::LiveBytes(Context(**entry), shape, header.length) !=
          static_cast<int64_t>(view->live.size())) {
    return WithReason(absl::InvalidArgumentError("session snapshot contradicts itself or this model"),
                      "SNAPSHOT_INVALID");
  }
  if (auto s = CheckFitsModel(shape, model_->info.config); !s.ok()) return WithReason(s, "SNAPSHOT_INVALID");
  auto session = MakeSession(**entry, shape);
  if (!session.ok()) return session.status();
  auto lease = SessionLease::Acquire(*session);
  if (!lease.ok()) return lease.status();
  if (auto s = (*lease)->state().RestoreLive(header.length, view->live); !s.ok()) {
    return WithReason(s, "SNAPSHOT_INVALID");
  }
  (*lease)->set_pending_token(header.pending_token);
  (*lease)->set_turns(header.turns);
  (*lease)->set_chat_tail(std::move(view->header.chat));
  return session;
}

absl::StatusOr<std::shared_ptr<Turn>> EngineImpl::Submit(TurnRequest request,
                                                         std::shared_ptr<TurnObserver> observer) {
  const int vocab_size = model_->info.config.vocab_size;
  for (size_t i = 0; i < request.tokens.size(); ++i) {
    if (request.tokens[i] < 0 || request.tokens[i] >= vocab_size) {
      return absl::InvalidArgumentError(Concat("tokens: id ", request.tokens[i], " at place ", i,
                                               " is outside the vocabulary [0, ", vocab_size, ")"));
    }
  }
  if (request.tokens.empty() &&
      (request.lease == nullptr || request.lease->pending_token() == kNoToken || request.replaces_end)) {
    return absl::InvalidArgumentError("prompt: empty, and the session holds no token to continue from");
  }
  if (request.mode == TurnMode::kIngest) {
    if (request.lease == nullptr) return absl::InvalidArgumentError("session: ingesting needs a session");
    request.max_new_tokens = 0;
  } else {
    if (request.score) return absl::InvalidArgumentError("score: only text that is ingested can be scored");
    if (request.max_new_tokens < 1) return absl::InvalidArgumentError("max_tokens: must be at least 1");
    if (auto s = ValidateSamplingParams(request.sampling, vocab_size); !s.ok()) return s;
    if (request.ignore_eos && request.constraint != nullptr) {
      return absl::InvalidArgumentError(
          "ignore_eos: an answer with a response_format ends where it is complete");
    }
    request.max_new_tokens = std::min(request.max_new_tokens, kMaxNewTokens);
  }
  auto prompt_bytes =
      Reserve(static_cast<int64_t>(request.tokens.size()) * kPromptBytesPerToken, "the prompt");
  if (!prompt_bytes.ok()) return prompt_bytes.status();
  return scheduler_.Submit(std::move(request), *std::move(prompt_bytes), std::move(observer));
}

int64_t EngineImpl::ExactShapeBytes(int64_t tokens) const {
  return SessionState::Bytes(Context(**model_->kinds->Find("window")), SessionShape::Exact(tokens)).total();
}

RouteInput EngineImpl::DescribeRoute(const TurnRequest& request) const {
  RouteInput input;
  input.prompt_tokens = static_cast<int64_t>(request.tokens.size());
  input.max_new_tokens = request.max_new_tokens;
  input.preference = request.preference;
  if (request.lease != nullptr) {
    if (!request.rebuilds) {
      input.session_tokens = request.lease->total_tokens() - (request.replaces_end ? 1 : 0);
      input.session_folded = request.lease->state().folded() > 0;
    }
    input.exact_limit_tokens = request.lease->state().shape().exact_capacity();
    return input;
  }
  input.storage = Storage::kOnDemand;
  input.exact_limit_tokens = model_->options.exact_limit_tokens;
  const int64_t total = input.prompt_tokens + input.max_new_tokens;
  const KindEntry& gated = model_->kinds->default_kind();
  const int64_t gated_bytes = SessionState::Bytes(Context(gated), gated.default_shape).total();
  if (total <= input.exact_limit_tokens && ExactShapeBytes(total) > gated_bytes) {
    const double after = static_cast<double>(model_->accountant->reserved_bytes() + ExactShapeBytes(total));
    if (after > kPressureShare * static_cast<double>(model_->accountant->budget_bytes())) {
      input.pressure = MemoryPressure::kHigh;
    }
  }
  return input;
}

absl::StatusOr<std::shared_ptr<SessionLease>> EngineImpl::EphemeralLease(Path path, int64_t total_tokens) {
  KindEntry& entry = path == Path::kExact ? **model_->kinds->Find("window") : model_->kinds->default_kind();
  auto session =
      MakeSession(entry, path == Path::kExact ? SessionShape::Exact(total_tokens) : entry.default_shape);
  if (!session.ok()) return session.status();
  return SessionLease::Acquire(*std::move(session));
}

absl::StatusOr<Admission> EngineImpl::Admit(const TurnRequest& request) {
  const RouteInput input = DescribeRoute(request);
  const RouteDecision route = Route(input);
  const int64_t total = input.session_tokens + input.prompt_tokens + input.max_new_tokens;
  if (!route.possible) {
    return WithReason(absl::FailedPreconditionError(
                          Concat("the exact path is impossible (", RouteReasonName(route.reason),
                                 "): ", total, " tokens, exact limit ", input.exact_limit_tokens)),
                      "EXACT_IMPOSSIBLE");
  }
  Admission admission;
  admission.lease = request.lease;
  if (admission.lease == nullptr) {
    auto lease = EphemeralLease(route.path, total);
    if (!lease.ok()) return lease.status();
    admission.lease = *std::move(lease);
  }
  const Session& session = *admission.lease->session();
  TurnStart& start = admission.start;
  start.route = route;
  start.prompt_tokens = input.prompt_tokens;
  start.exact_limit_tokens = input.exact_limit_tokens;
  start.memory_kind = session.kind().name();
  start.accounting =
      AccountTokens(session.kind(), session.shape(), input.session_tokens + input.prompt_tokens);
  start.session_bytes = session.bytes();
  start.full_kv_bytes = FullKvBytes(model_->info.config, model_->options.kv, start.accounting.total);
  return admission;
}

EngineStats EngineImpl::Stats() const {
  const SchedulerStats scheduler = scheduler_.Stats();
  EngineStats stats;
  stats.budget_bytes = model_->accountant->budget_bytes();
  stats.reserved_bytes = model_->accountant->reserved_bytes();
  stats.weight_bytes = model_->weight_bytes.bytes();
  stats.work_bytes = model_->work_bytes.bytes();
  stats.active_turns = scheduler.active_turns;
  stats.queued_turns = scheduler.queued_turns;
  stats.steps = scheduler.steps;
  stats.step_tokens = scheduler.step_tokens;
  stats.memory_writes = scheduler.memory_writes;
  stats.folded_tokens = scheduler.folded_tokens;
  for (const auto& entry : model_->kinds->entries()) {
    stats.sessions_by_kind.push_back(
        {std::string(entry->kind->name()), entry->sessions.load(), entry->session_bytes.load()});
  }
  return stats;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Load(EngineOptions options) {
  auto model = LoadModel(std::move(options));
  if (!model.ok()) return model.status();
  return std::make_unique<EngineImpl>(*std::move(model));
}

}  // namespace memgate
