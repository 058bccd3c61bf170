// A turn on its way through the scheduler. Internal to engine/scheduling.
#ifndef MEMGATE_ENGINE_SCHEDULING_TURN_STATE_H_
#define MEMGATE_ENGINE_SCHEDULING_TURN_STATE_H_

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/model/transformer.h"
#include "engine/sampling/sampler.h"
#include "engine/sampling/stop_matcher.h"
#include "engine/scheduling/session.h"
#include "engine/scheduling/turn.h"
#include "engine/structured/token_constraint.h"
#include "engine/text/tokenizer.h"

namespace memgate {

// Queued -> active (prefill, then decode if it generates) -> ended. Only the scheduler's thread touches it,
// except for the cancel flag, and for Sample.
class Turn {
 public:
  // `prompt_bytes` covers the request's tokens until the turn ends.
  Turn(TurnRequest request, Reservation prompt_bytes, std::shared_ptr<TurnObserver> observer,
       absl::Time arrival)
      : request_(std::move(request)),
        prompt_tokens_(static_cast<int64_t>(request_.tokens.size())),
        prompt_bytes_(std::move(prompt_bytes)),
        observer_(std::move(observer)),
        score_(request_.score.value_or(TextScore())),
        arrival_(arrival) {}

  void Cancel() { cancelled_.store(true, std::memory_order_release); }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  const TurnRequest& request() const { return request_; }

  // What sampling one token needs to know about the model.
  struct Vocabulary {
    const Tokenizer* tokenizer = nullptr;
    int size = 0;
    absl::Span<const int32_t> eos_ids;
  };

  // Queued -> active. `lease` is the request's own or that of an ephemeral session. REQUIRES: the input or
  // the session's pending token is there to begin with. Returns true if the turn has ended already.
  bool Begin(std::shared_ptr<SessionLease> lease, const Vocabulary& vocabulary, const TurnStart& start,
             absl::Time now);

  // Tokens that wait to be taken in: the rest of the input, or the token just sampled.
  absl::Span<const int32_t> waiting() const { return absl::MakeConstSpan(input_).subspan(next_); }
  bool decoding() const { return generated_ > 0; }

  // The next part of at most `budget` tokens, up to the next fold; empty if nothing waits. A turn that scores
  // takes no more tokens than `logit_rows`.
  SequenceChunk NextChunk(int64_t budget, int64_t logit_rows) const;
  // What comes after a part: another one; Sample, then Take; or nothing.
  enum class Next { kPart, kSample, kEnded };
  // The part was taken in. `logits`: the rows it asked for, [rows, V].
  Next Advance(const SequenceChunk& chunk, absl::Span<const float> logits, const Vocabulary& vocabulary,
               absl::Time now);
  // Picks a token from its logits, [V], which are changed. Different turns may do so on different threads at
  // once: nothing is touched that another turn has, and no observer called.
  void Sample(absl::Span<float> logits) { sampled_ = sampler_->Sample(logits, allowed_); }
  // The turn goes on with the token picked. Returns true if it has ended.
  bool Take(const Vocabulary& vocabulary, absl::Time now);
  // Ends the turn; the observer hears of it. Valid in every state but ended.
  void End(absl::Status status, FinishReason reason, absl::Time now);

 private:
  // Finds the tokens that may come next. Returns false if the turn has ended: none may.
  bool Allow(absl::Time now);
  absl::Status Score(const SequenceChunk& chunk, absl::Span<const float> logits, int vocab_size);
  void Emit(StopMatcher::Result result, std::optional<SampledToken> token);
  ChatTail TailBehindInput();
  void LeavePendingToken(bool finished);
  void LeaveChatTail(bool finished);

  TurnRequest request_;  // its tokens move into input_ when the turn begins
  const int64_t prompt_tokens_;
  Reservation prompt_bytes_;
  const std::shared_ptr<TurnObserver> observer_;
  std::atomic<bool> cancelled_{false};

  std::shared_ptr<SessionLease> lease_;
  std::vector<int32_t> input_;  // pending token and prompt; while decoding the sampled token
  size_t next_ = 0;             // first of input_ that is not taken in
  bool begins_with_pending_ = false;
  int32_t held_back_ = kNoToken;  // the last token of an ingested text: left pending
  TextScore score_;
  int64_t folded_before_ = 0;
  int64_t generated_ = 0;
  std::optional<Sampler> sampler_;
  std::vector<uint64_t> allowed_;                  // what the next token may be, as for Sampler::Sample
  absl::StatusOr<SampledToken> sampled_;           // by Sample, for Take
  std::optional<TokenConstraint::Cursor> cursor_;  // while the turn is active, if its answer is constrained
  std::optional<Detokenizer> detokenizer_;
  std::optional<StopMatcher> stop_;
  std::string matched_stop_;
  ChatTail tail_;  // of the session's chat, with the answer so far

  const absl::Time arrival_;
  absl::Time begin_;
  absl::Time first_token_;
  absl::Time last_token_;
  std::vector<absl::Duration> inter_token_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SCHEDULING_TURN_STATE_H_
