// Continuous batching: one thread, one forward pass per step for all active turns.
#ifndef MEMGATE_ENGINE_SCHEDULING_SCHEDULER_H_
#define MEMGATE_ENGINE_SCHEDULING_SCHEDULER_H_

#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/base/mutex.h"
#include "engine/model/transformer.h"
#include "engine/scheduling/turn_state.h"

namespace memgate {

struct SchedulerOptions {
  int max_batch_tokens = 256;
  int max_active_turns = 64;  // also the most logit rows of a step
  int max_queued_turns = 256;
  int threads = 0;  // compute threads, 0 = one per core
  std::function<absl::Time()> clock;
};

// Counters only grow.
struct SchedulerStats {
  int active_turns = 0;
  int queued_turns = 0;
  int64_t steps = 0;
  int64_t step_tokens = 0;
  int64_t memory_writes = 0;
  int64_t folded_tokens = 0;
};

// What a turn starts with, or why it cannot.
struct Admission {
  std::shared_ptr<SessionLease> lease;
  TurnStart start;
};

// Thread-safe. A step holds one token of every decoding turn and fills up with prefill parts of the others,
// in turn; everything else (admission, cancellation, deadlines) happens between steps.
class Scheduler {
 public:
  using Admit = std::function<absl::StatusOr<Admission>(const TurnRequest&)>;

  // `admit` routes a turn and finds or makes its session; called on the scheduler's thread when the turn
  // leaves the queue. `transformer`, `vocabulary` and what they point to must outlive the scheduler.
  Scheduler(const Transformer& transformer, Turn::Vocabulary vocabulary, SchedulerOptions options,
            Admit admit);
  // Cancels what is left.
  ~Scheduler();

  // `prompt_bytes` is held until the turn ends. RESOURCE_EXHAUSTED (QUEUE_FULL), UNAVAILABLE (DRAINING),
  // ABORTED (SESSION_BUSY: the lease is in another turn).
  absl::StatusOr<std::shared_ptr<Turn>> Submit(TurnRequest request, Reservation prompt_bytes,
                                               std::shared_ptr<TurnObserver> observer);
  void Cancel(const std::shared_ptr<Turn>& turn);
  // See Engine::Drain.
  void Drain(absl::Time deadline);
  SchedulerStats Stats() const;

 private:
  // One turn's part of a step.
  struct Part {
    std::shared_ptr<Turn> turn;
    SequenceChunk chunk;
  };

  void Run();
  bool WaitForWork();
  void AdmitQueued();
  void EndCancelledAndExpired();
  std::vector<Part> PlanStep();
  void RunStep(std::vector<Part> parts);
  void AdvanceTurns(const std::vector<Part>& parts, absl::Span<float> logits, absl::Time now);
  void CountStep(const std::vector<Part>& parts, int64_t writes, int64_t folded);
  std::vector<std::shared_ptr<Turn>> TakeQueuedIf(const std::function<bool(const Turn&)>& condition);

  const Transformer& transformer_;
  const Turn::Vocabulary vocabulary_;
  const SchedulerOptions options_;
  const Admit admit_;

  // Touched by the scheduler's thread only.
  Workspace workspace_;
  std::list<std::shared_ptr<Turn>> active_;  // front = next to prefill

  mutable Mutex mutex_;
  std::deque<std::shared_ptr<Turn>> queued_ ABSL_GUARDED_BY(mutex_);
  SchedulerStats stats_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool wake_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time cut_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();

  std::thread thread_;  // last: runs on all of the above
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SCHEDULING_SCHEDULER_H_
