#include "engine/scheduling/turn_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/algorithm/container.h"
#include "engine/kernels/parallel.h"
#include "engine/sampling/log_probability.h"
#include "engine/scheduling/status_reason.h"

namespace memgate {

namespace {

absl::Status NoTokenFits() {
  return WithReason(
      absl::FailedPreconditionError("response_format: the grammar goes on with bytes that no token "
                                    "of the model's vocabulary begins with"),
      "NO_TOKEN_FITS");
}

}  // namespace

bool Turn::Begin(std::shared_ptr<SessionLease> lease, const Vocabulary& vocabulary, const TurnStart& start,
                 absl::Time now) {
  lease_ = std::move(lease);
  if (request_.rebuilds) {
    lease_->Clear();
    lease_->Publish();
  }
  begin_ = now;
  folded_before_ = lease_->state().folded();
  if (request_.mode == TurnMode::kGenerate) {
    sampler_.emplace(request_.sampling, vocabulary.size);
    sampler_->ObservePrompt(request_.tokens);
    detokenizer_.emplace(*vocabulary.tokenizer, TextPosition::kContinuation);
    stop_.emplace(request_.stop);
    if (request_.constraint != nullptr) cursor_.emplace(std::move(request_.constraint));
  }
  tail_ = TailBehindInput();
  input_ = std::move(request_.tokens);
  begins_with_pending_ = lease_->pending_token() != kNoToken && !request_.replaces_end;
  if (begins_with_pending_) input_.insert(input_.begin(), lease_->pending_token());
  if (request_.mode == TurnMode::kIngest) {
    held_back_ = input_.back();
    input_.pop_back();
  }
  observer_->OnStart(start);
  if (!waiting().empty()) return false;
  End(absl::OkStatus(), FinishReason::kStop, now);
  return true;
}

// What the session is to know of its chat once the input is taken in.
ChatTail Turn::TailBehindInput() {
  if (request_.chat) return *std::move(request_.chat);
  ChatTail tail = lease_->chat_tail();
  if (request_.mode == TurnMode::kIngest || !request_.tokens.empty()) {
    tail.Interrupt();
  } else if (tail.ended) {  // goes on behind its end, which is then a part of it that the client did not see
    tail.ended = false;
    tail.LoseAnswer();
  }
  return tail;
}

SequenceChunk Turn::NextChunk(int64_t budget, int64_t logit_rows) const {
  const absl::Span<const int32_t> rest = waiting();
  const int64_t until_fold = lease_->state().TokensUntilFold();
  int64_t count = std::min({budget, until_fold, static_cast<int64_t>(rest.size())});
  LogitRows logits = LogitRows::kNone;
  if (request_.score) {
    count = std::min(count, logit_rows);
    logits = LogitRows::kAll;
  } else if (request_.mode == TurnMode::kGenerate && count == static_cast<int64_t>(rest.size())) {
    logits = LogitRows::kLast;
  }
  return {.session = &lease_->state(), .tokens = rest.first(count), .logits = logits};
}

Turn::Next Turn::Advance(const SequenceChunk& chunk, absl::Span<const float> logits,
                         const Vocabulary& vocabulary, absl::Time now) {
  const absl::Status scored = request_.score ? Score(chunk, logits, vocabulary.size) : absl::OkStatus();
  next_ += chunk.tokens.size();
  lease_->set_pending_token(kNoToken);
  lease_->Publish();
  if (!decoding()) {
    // The session's earlier pending token is none of this turn's input; the held-back one is.
    const bool held_back_reached = waiting().empty() && held_back_ != kNoToken;
    const int64_t done = static_cast<int64_t>(next_) - begins_with_pending_ + held_back_reached;
    observer_->OnProgress({.processed_tokens = std::min(done, prompt_tokens_),
                           .accounting = lease_->Accounting(),
                           .score = score_});
  }
  if (scored.ok() && !waiting().empty()) return Next::kPart;
  if (scored.ok() && request_.mode == TurnMode::kGenerate) return Allow(now) ? Next::kSample : Next::kEnded;
  End(scored, FinishReason::kStop, now);
  return Next::kEnded;
}

// The logits of a token score the one after it; those of the last one that is taken in score the held-back
// token, which the next turn begins with. So no token is left out where a text is cut.
absl::Status Turn::Score(const SequenceChunk& chunk, absl::Span<const float> logits, int vocab_size) {
  const size_t count = chunk.tokens.size();
  std::vector<double> logprobs(count);
  constexpr int kOperationsPerLogit = 20;  // exp()
  ParallelFor(static_cast<int64_t>(count), LeastItems(int64_t{kOperationsPerLogit} * vocab_size),
              [&](int64_t begin, int64_t end, int) {
                for (int64_t i = begin; i < end; ++i) {
                  const size_t next = next_ + i + 1;
                  const int32_t target = next < input_.size() ? input_[next] : held_back_;
                  logprobs[i] = LogProbability(logits.subspan(i * vocab_size, vocab_size), target);
                }
              });
  for (const double logprob : logprobs) {
    if (!std::isfinite(logprob)) return absl::InternalError("the logits of the text are not finite");
    score_.logprob_sum += logprob;
    ++score_.tokens;
  }
  return absl::OkStatus();
}

bool Turn::Allow(absl::Time now) {
  if (!cursor_) return true;
  const absl::StatusOr<TokenConstraint::Allowed> allowed = cursor_->Next();
  if (!allowed.ok()) {
    End(allowed.status(), FinishReason::kStop, now);
    return false;
  }
  // Of a model without an end token the answer ends where nothing can follow.
  if (allowed->bits.empty()) {
    End(allowed->complete ? absl::OkStatus() : NoTokenFits(), FinishReason::kStop, now);
    return false;
  }
  // A copy, because other turns move on in the same form before this one samples.
  allowed_.assign(allowed->bits.begin(), allowed->bits.end());
  return true;
}

bool Turn::Take(const Vocabulary& vocabulary, absl::Time now) {
  if (!sampled_.ok()) {
    End(sampled_.status(), FinishReason::kStop, now);
    return true;
  }
  SampledToken token = *std::move(sampled_);
  const int32_t id = token.id;
  const bool ends = !request_.ignore_eos && absl::c_linear_search(vocabulary.eos_ids, id);
  // A token that the form does not take in is none of the conversation's: nobody will see it.
  if (absl::Status status = cursor_ && !ends ? cursor_->Take(id) : absl::OkStatus(); !status.ok()) {
    End(std::move(status), FinishReason::kStop, now);
    return true;
  }
  input_.assign(1, id);
  next_ = 0;
  if (generated_++ == 0) {
    first_token_ = now;
  } else {
    inter_token_.push_back(now - last_token_);
  }
  last_token_ = now;

  if (ends) {
    tail_.ended = tail_.follows_answer();
    End(absl::OkStatus(), FinishReason::kStop, now);
    return true;
  }
  tail_.Append(id);
  Emit(stop_->Push(detokenizer_->Push(id)), std::move(token));
  if (!matched_stop_.empty()) {
    End(absl::OkStatus(), FinishReason::kStop, now);
    return true;
  }
  if (generated_ >= request_.max_new_tokens) {
    End(absl::OkStatus(), FinishReason::kLength, now);
    return true;
  }
  return false;
}

void Turn::Emit(StopMatcher::Result result, std::optional<SampledToken> token) {
  if (result.matched) matched_stop_ = *result.matched;
  TurnDelta delta{.text = std::move(result.text)};
  if (token) delta.tokens.push_back(*std::move(token));
  if (!delta.text.empty() || !delta.tokens.empty()) observer_->OnDelta(delta);
}

// What the session remembers beyond the tokens taken in.
void Turn::LeavePendingToken(bool finished) {
  if (decoding()) {
    lease_->set_pending_token(waiting().empty() ? kNoToken : waiting().front());
  } else if (finished) {
    lease_->set_pending_token(held_back_);
  }
  // Otherwise the turn broke off in its input: a token that was pending before is so still, unless it was
  // taken in (Advance).
}

// An answer that a stop string cut is longer in the session than what the client saw of it, and so may be
// one that broke off.
void Turn::LeaveChatTail(bool finished) {
  if (!finished && !decoding()) {
    if (next_ == 0) return;  // nothing was taken in
    tail_.Interrupt();
  }
  if (!finished || !matched_stop_.empty()) tail_.LoseAnswer();
  lease_->set_chat_tail(std::move(tail_));
}

void Turn::End(absl::Status status, FinishReason reason, absl::Time now) {
  TurnEnd end{.status = std::move(status), .reason = reason};
  end.prompt_tokens = prompt_tokens_;
  end.completion_tokens = generated_;
  end.score = score_;
  if (lease_ == nullptr) {
    end.queue_time = now - arrival_;
  } else {
    if (stop_ && matched_stop_.empty() && end.status.ok()) {
      const std::string rest = detokenizer_->Flush();
      // The next turn may complete the character, of which the client sees U+FFFD.
      if (!rest.empty()) tail_.LoseAnswer();
      Emit(stop_->Push(rest), std::nullopt);
      if (matched_stop_.empty()) Emit(stop_->Flush(), std::nullopt);
    }
    if (!matched_stop_.empty()) end.reason = FinishReason::kStop;
    LeavePendingToken(end.status.ok());
    LeaveChatTail(end.status.ok());
    // Text is ingested in as many engine turns as it arrives in parts; only answers are worth counting.
    if (request_.mode == TurnMode::kGenerate) lease_->set_turns(lease_->turns() + 1);
    end.matched_stop = matched_stop_;
    end.folded_tokens = lease_->state().folded() - folded_before_;
    end.accounting = lease_->Accounting();
    lease_->Publish();
    end.queue_time = begin_ - arrival_;
    end.prefill_time = (generated_ > 0 ? first_token_ : now) - begin_;
    if (generated_ > 0) {
      end.decode_time = last_token_ - first_token_;
      end.time_to_first_token = first_token_ - arrival_;
    }
    end.inter_token = std::move(inter_token_);
  }
  // The session and the prompt's bytes are free before anybody hears that the turn is over.
  if (request_.lease != nullptr) request_.lease->LeaveTurn();
  request_.lease.reset();
  request_.constraint.reset();
  request_.chat.reset();
  cursor_.reset();
  input_ = {};
  prompt_bytes_.Release();
  lease_.reset();
  observer_->OnEnd(end);
}

}  // namespace memgate
