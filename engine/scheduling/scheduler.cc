#include "engine/scheduling/scheduler.h"

#include <algorithm>
#include <utility>

#include "engine/base/strings.h"
#include "engine/kernels/parallel.h"
#include "engine/scheduling/status_reason.h"

namespace memgate {
namespace {

// Rows of logits that a chunk asks for.
int64_t LogitRowsOf(const SequenceChunk& chunk) {
  switch (chunk.logits) {
    case LogitRows::kNone:
      return 0;
    case LogitRows::kLast:
      return 1;
    case LogitRows::kAll:
      return static_cast<int64_t>(chunk.tokens.size());
  }
  return 0;
}

}  // namespace

Scheduler::Scheduler(const Transformer& transformer, Turn::Vocabulary vocabulary, SchedulerOptions options,
                     Admit admit)
    : transformer_(transformer),
      vocabulary_(vocabulary),
      options_(std::move(options)),
      admit_(std::move(admit)),
      workspace_(transformer.config(), {.max_tokens = options_.max_batch_tokens,
                                        .max_logit_rows = options_.max_active_turns,
                                        .weights = transformer.weights().format}),
      thread_([this] { Run(); }) {}

Scheduler::~Scheduler() {
  {
    MutexLock lock(&mutex_);
    draining_ = stopping_ = true;
  }
  thread_.join();
}

absl::StatusOr<std::shared_ptr<Turn>> Scheduler::Submit(TurnRequest request, Reservation prompt_bytes,
                                                        std::shared_ptr<TurnObserver> observer) {
  const std::shared_ptr<SessionLease> lease = request.lease;
  auto turn = std::make_shared<Turn>(std::move(request), std::move(prompt_bytes), std::move(observer),
                                     options_.clock());
  MutexLock lock(&mutex_);
  if (draining_) return WithReason(absl::UnavailableError("the server is shutting down"), "DRAINING");
  if (static_cast<int>(queued_.size()) >= options_.max_queued_turns) {
    return WithReason(
        absl::ResourceExhaustedError(Concat("the queue is full (", queued_.size(), " requests wait)")),
        "QUEUE_FULL");
  }
  if (lease != nullptr && !lease->EnterTurn()) {
    return WithReason(absl::AbortedError("another turn of this session is running"), "SESSION_BUSY");
  }
  queued_.push_back(turn);
  stats_.queued_turns = static_cast<int>(queued_.size());
  return turn;
}

void Scheduler::Cancel(const std::shared_ptr<Turn>& turn) {
  turn->Cancel();
  MutexLock lock(&mutex_);
  wake_ = true;
}

void Scheduler::Drain(absl::Time deadline) {
  MutexLock lock(&mutex_);
  draining_ = true;
  cut_at_ = std::min(cut_at_, deadline);
  wake_ = true;
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return queued_.empty() && stats_.active_turns == 0;
  };
  mutex_.Await(idle);
}

SchedulerStats Scheduler::Stats() const {
  MutexLock lock(&mutex_);
  return stats_;
}

void Scheduler::Run() {
  SetComputeThreads(options_.threads);
  while (WaitForWork()) {
    EndCancelledAndExpired();
    AdmitQueued();
    RunStep(PlanStep());
  }
  for (const auto& turn : TakeQueuedIf([](const Turn&) { return true; })) active_.push_back(turn);
  for (const auto& turn : active_) {
    turn->End(absl::CancelledError("the server is shutting down"), FinishReason::kCut, options_.clock());
  }
}

// Blocks while there is nothing to do; false when the scheduler stops.
bool Scheduler::WaitForWork() {
  MutexLock lock(&mutex_);
  stats_.active_turns = static_cast<int>(active_.size());
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || wake_ || !queued_.empty() || !active_.empty();
  };
  mutex_.Await(ready);
  wake_ = false;
  return !stopping_;
}

// Removes and returns the queued turns that satisfy `condition`. They count as active until they have ended,
// so that Drain waits for them.
std::vector<std::shared_ptr<Turn>> Scheduler::TakeQueuedIf(
    const std::function<bool(const Turn&)>& condition) {
  std::vector<std::shared_ptr<Turn>> taken;
  MutexLock lock(&mutex_);
  const auto keep_end = std::stable_partition(queued_.begin(), queued_.end(),
                                              [&](const auto& turn) { return !condition(*turn); });
  taken.assign(keep_end, queued_.end());
  queued_.erase(keep_end, queued_.end());
  stats_.queued_turns = static_cast<int>(queued_.size());
  stats_.active_turns += static_cast<int>(taken.size());
  return taken;
}

void Scheduler::EndCancelledAndExpired() {
  const absl::Time now = options_.clock();
  absl::Time cut_at;
  {
    MutexLock lock(&mutex_);
    cut_at = cut_at_;
  }
  const auto over = [&](const Turn& turn) {
    return turn.cancelled() || now >= turn.request().deadline || now >= cut_at;
  };
  const auto end = [&](Turn& turn) {
    if (turn.cancelled()) {
      turn.End(absl::CancelledError("the request was cancelled"), FinishReason::kCut, now);
    } else if (now >= turn.request().deadline) {
      turn.End(absl::DeadlineExceededError("the request's deadline has passed"), FinishReason::kCut, now);
    } else if (turn.decoding()) {
      turn.End(absl::OkStatus(), FinishReason::kCut, now);
    } else {
      turn.End(WithReason(absl::UnavailableError("the server is shutting down"), "DRAINING"),
               FinishReason::kCut, now);
    }
  };
  for (const auto& turn : TakeQueuedIf(over)) end(*turn);
  for (auto it = active_.begin(); it != active_.end();) {
    if (over(**it)) {
      end(**it);
      it = active_.erase(it);
    } else {
      ++it;
    }
  }
}

void Scheduler::AdmitQueued() {
  while (static_cast<int>(active_.size()) < options_.max_active_turns) {
    bool first = true;
    const auto taken = TakeQueuedIf([&first](const Turn&) { return std::exchange(first, false); });
    if (taken.empty()) return;
    const std::shared_ptr<Turn>& turn = taken.front();
    absl::StatusOr<Admission> admission = admit_(turn->request());
    if (!admission.ok()) {
      turn->End(admission.status(), FinishReason::kStop, options_.clock());
      continue;
    }
    if (turn->Begin(std::move(admission->lease), vocabulary_, admission->start, options_.clock())) continue;
    active_.push_back(turn);
  }
}

// Decoding turns first, one token each; what is left of the token budget goes to prefill. Turns that got a
// part move to the back, so that all advance at the same pace when the budget is short, or the rows of logits
// are. There is a row for every active turn, so somebody always advances.
std::vector<Scheduler::Part> Scheduler::PlanStep() {
  std::vector<Part> parts;
  int64_t budget = options_.max_batch_tokens;
  int64_t logit_rows = workspace_.max_logit_rows();
  for (const bool decoding : {true, false}) {
    for (const auto& turn : active_) {
      if (budget == 0) break;
      if (turn->decoding() != decoding) continue;
      const SequenceChunk chunk = turn->NextChunk(budget, logit_rows);
      if (chunk.tokens.empty() || LogitRowsOf(chunk) > logit_rows) continue;
      budget -= static_cast<int64_t>(chunk.tokens.size());
      logit_rows -= LogitRowsOf(chunk);
      parts.push_back({turn, chunk});
    }
  }
  for (const Part& part : parts) {
    active_.remove(part.turn);
    active_.push_back(part.turn);
  }
  return parts;
}

void Scheduler::RunStep(std::vector<Part> parts) {
  if (parts.empty()) return;
  std::vector<SequenceChunk> batch;
  int64_t folded = 0;
  int64_t writes = 0;
  for (const Part& part : parts) {
    batch.push_back(part.chunk);
    folded -= part.chunk.session->folded();
    writes -= part.chunk.session->memory_writes();
  }
  const absl::StatusOr<absl::Span<float>> logits = transformer_.Forward(batch, workspace_);
  for (const Part& part : parts) {
    folded += part.chunk.session->folded();
    writes += part.chunk.session->memory_writes();
  }
  CountStep(parts, writes, folded);

  const absl::Time now = options_.clock();
  if (logits.ok()) return AdvanceTurns(parts, *logits, now);
  for (const Part& part : parts) {
    part.turn->End(logits.status(), FinishReason::kStop, now);
    active_.remove(part.turn);
  }
}

// Everything that turns share or that clients hear of happens here, turn by turn; only to sample, which is
// what takes time, turns go side by side.
void Scheduler::AdvanceTurns(const std::vector<Part>& parts, absl::Span<float> logits, absl::Time now) {
  struct Sampling {
    std::shared_ptr<Turn> turn;
    absl::Span<float> logits;
  };
  std::vector<Sampling> samplings;
  const int vocab_size = transformer_.config().vocab_size;
  for (const Part& part : parts) {
    const absl::Span<float> own = logits.subspan(0, LogitRowsOf(part.chunk) * vocab_size);
    logits.remove_prefix(own.size());
    const Turn::Next next = part.turn->Advance(part.chunk, own, vocabulary_, now);
    if (next == Turn::Next::kSample) samplings.push_back({part.turn, own});
    if (next == Turn::Next::kEnded) active_.remove(part.turn);
  }
  constexpr int kOperationsPerLogit = 20;  // exp()
  ParallelForBalanced(static_cast<int64_t>(samplings.size()),
                      LeastItems(int64_t{kOperationsPerLogit} * vocab_size),
                      [&](int64_t begin, int64_t end, int) {
                        for (int64_t i = begin; i < end; ++i) samplings[i].turn->Sample(samplings[i].logits);
                      });
  for (const Sampling& sampling : samplings) {
    if (sampling.turn->Take(vocabulary_, now)) active_.remove(sampling.turn);
  }
}

void Scheduler::CountStep(const std::vector<Part>& parts, int64_t writes, int64_t folded) {
  MutexLock lock(&mutex_);
  ++stats_.steps;
  for (const Part& part : parts) stats_.step_tokens += static_cast<int64_t>(part.chunk.tokens.size());
  stats_.memory_writes += writes;
  stats_.folded_tokens += folded;
}

}  // namespace memgate
