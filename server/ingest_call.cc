#include "server/ingest_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/convert.h"
#include "server/error.h"
#include "server/generate_request.h"
#include "server/session_requests.h"

namespace memgate {
namespace {

absl::Status AsTextError(const absl::Status& status) {
  return absl::IsInvalidArgument(status) ? FieldError("text", status.message()) : status;
}

absl::Status Deleted() {
  return ErrorWithReason(absl::StatusCode::kAborted, "SESSION_DELETED",
                         "the session was deleted while text was taken in");
}

}  // namespace

IngestCall::IngestCall(const ServiceContext& context, const grpc::CallbackServerContext& rpc)
    : context_(context), call_(context, "Ingest", rpc) {}

grpc::ServerBidiReactor<v1::IngestRequest, v1::IngestProgress>* IngestCall::Start(
    const ServiceContext& context, const grpc::CallbackServerContext& rpc) {
  const std::shared_ptr<IngestCall> call(new IngestCall(context, rpc));
  call->self_ = call;
  if (call->call_.permission().ok()) {
    call->GoOn();
  } else {
    call->End(call->call_.permission());
  }
  return call.get();
}

void IngestCall::OnReadDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    if (!std::exchange(waiting_for_client_, false)) return;  // the session's deletion ended the call
    if (cancelled_) ok = false;
  }
  if (ok) {
    std::vector<TokenId> tokens;
    const absl::Status status = TakeMessage(tokens);
    Ingest(status, std::move(tokens));
  } else {
    EndInput();
  }
}

void IngestCall::EndInput() {
  v1::IngestProgress progress = ProgressSoFar();
  const bool probe = tokenizer_.has_value();
  bool cancelled;
  {
    absl::MutexLock lock(&mutex_);
    cancelled = cancelled_ || unwritable_;
    if (!cancelled && probe) {
      waiting_ = std::move(progress);
      probe_ = Probe::kWaiting;
      waiting_for_client_ = true;
    }
  }
  if (cancelled) return End(absl::CancelledError("the call was cancelled"));
  if (probe) return Pump();
  if (use_ == nullptr) return End(FieldError("session", "is required in the first message"));
  input_ended_ = true;
  GoOn();
}

absl::Status IngestCall::OpenSession() {
  auto id = ParseSessionName("session", request_.session());
  if (!id.ok()) return id.status();
  auto use = context_.sessions.Begin(call_.tenant(), *id);
  if (!use.ok()) return use.status();
  use_ = *std::move(use);
  use_->OnDelete([call = weak_from_this()] {
    if (const auto self = call.lock()) self->SessionDeleted();
  });
  accounting_ = context_.engine.Describe(*use_->session()).accounting;
  conversation_started_ = accounting_.total > 0;
  if (request_.score()) score_.emplace();
  return absl::OkStatus();
}

absl::Status IngestCall::TakeMessage(std::vector<TokenId>& tokens) {
  if (use_ == nullptr) {
    if (auto s = OpenSession(); !s.ok()) return s;
  }
  if (request_.has_tokens()) {
    if (auto s = FlushText(tokens); !s.ok()) return s;
    const int vocabulary_size = context_.engine.model().config.vocab_size;
    if (auto s = CheckTokenIds(request_.tokens(), vocabulary_size); !s.ok()) return s;
    tokens.insert(tokens.end(), request_.tokens().ids().begin(), request_.tokens().ids().end());
    conversation_started_ = conversation_started_ || !tokens.empty();
    return absl::OkStatus();
  }
  if (request_.text().empty()) return absl::OkStatus();
  if (!tokenizer_) {
    tokenizer_.emplace(context_.engine.tokenizer(),
                       conversation_started_ ? TextPosition::kContinuation : TextPosition::kStart,
                       SpecialTokens::kParse, static_cast<size_t>(received_bytes_));
    conversation_started_ = true;
  }
  received_bytes_ += static_cast<int64_t>(request_.text().size());
  return AsTextError(tokenizer_->Push(request_.text(), tokens));
}

absl::Status IngestCall::FlushText(std::vector<TokenId>& tokens) {
  if (!tokenizer_) return absl::OkStatus();
  const absl::Status status = tokenizer_->Finish(tokens);
  tokenizer_.reset();
  return AsTextError(status);
}

void IngestCall::Ingest(const absl::Status& status, std::vector<TokenId> tokens) {
  if (tokens.empty()) return status.ok() ? GoOn() : End(status);
  input_status_ = status;
  turn_tokens_ = std::move(tokens);
  turn_bytes_counted_ = 0;
  auto turn = context_.engine.Submit({.lease = use_->lease(),
                                      .mode = TurnMode::kIngest,
                                      .tokens = turn_tokens_,
                                      .score = score_,
                                      .deadline = call_.deadline()},
                                     shared_from_this());
  if (!turn.ok()) return End(turn.status());
  use_->Attach(*turn);
  bool cancel;
  {
    absl::MutexLock lock(&mutex_);
    turn_ = *turn;
    cancel = cancelled_;
  }
  if (cancel) context_.engine.Cancel(*turn);
  if (submitted_and_ended_.ArriveSecond()) EndTurn();
}

void IngestCall::OnStart(const TurnStart& start) {
  if (!route_) context_.metrics.CountRoute(start.route);
  route_ = start.route;
}

void IngestCall::OnProgress(const TurnProgress& progress) {
  CountBytes(progress.processed_tokens);
  SendProgress(Progress(progress));
}

void IngestCall::CountBytes(int64_t processed_tokens) {
  const int64_t end = std::min(processed_tokens, static_cast<int64_t>(turn_tokens_.size()));
  for (; turn_bytes_counted_ < end; ++turn_bytes_counted_) {
    taken_bytes_ += static_cast<int64_t>(
        context_.engine.tokenizer().TokenBytes(turn_tokens_[turn_bytes_counted_]).size());
  }
}

void IngestCall::OnDelta(const TurnDelta&) {}

void IngestCall::OnEnd(const TurnEnd& end) {
  turn_status_ = end.status;
  accounting_ = end.accounting;
  if (score_) score_ = end.score;
  if (submitted_and_ended_.ArriveSecond()) EndTurn();
}

void IngestCall::EndTurn() {
  // Text that went into a session which nobody can reach any more was not taken in.
  if ((turn_status_.ok() || absl::IsCancelled(turn_status_)) && use_->deleted()) {
    return End(Deleted());
  }
  if (!turn_status_.ok()) return End(turn_status_);
  const int64_t tokens = static_cast<int64_t>(turn_tokens_.size());
  context_.metrics.CountIngested(tokens);
  CountBytes(tokens);
  taken_tokens_ += tokens;
  turn_tokens_.clear();
  if (!input_status_.ok()) return End(input_status_);
  GoOn();
}

void IngestCall::GoOn() {
  if (input_ended_) return Complete();
  // From here on the session's deletion may end the call on another thread.
  const std::shared_ptr<IngestCall> keep_alive = shared_from_this();
  bool deleted;
  {
    absl::MutexLock lock(&mutex_);
    deleted = deleted_;
    waiting_for_client_ = !deleted;
    if (!deleted) ++starting_reads_;
  }
  if (deleted) return End(Deleted());
  StartRead(&request_);
  {
    absl::MutexLock lock(&mutex_);
    --starting_reads_;
  }
  Pump();
}

void IngestCall::SessionDeleted() {
  {
    absl::MutexLock lock(&mutex_);
    deleted_ = true;
    if (!std::exchange(waiting_for_client_, false)) return;  // whoever works on the call finds out
  }
  End(Deleted());
}

void IngestCall::Complete() {
  v1::IngestProgress last = ProgressSoFar();
  last.set_ingested_bytes(received_bytes_);
  last.set_done(true);
  use_.reset();  // whoever sees the last message finds the session free
  SendProgress(std::move(last));
  End(absl::OkStatus());
}

v1::IngestProgress IngestCall::ProgressSoFar() const {
  return Progress({.accounting = accounting_, .score = score_.value_or(TextScore())});
}

v1::IngestProgress IngestCall::Progress(const TurnProgress& turn) const {
  v1::IngestProgress progress;
  const int64_t tokens = taken_tokens_ + turn.processed_tokens;
  progress.set_ingested_bytes(std::min(taken_bytes_, received_bytes_));
  progress.set_ingested_tokens(tokens);
  *progress.mutable_accounting() = ToProto(turn.accounting);
  progress.set_scored_tokens(turn.score.tokens);
  progress.set_logprob_sum(turn.score.logprob_sum);
  const double seconds = absl::ToDoubleSeconds(context_.clock() - call_.arrival());
  if (seconds > 0) progress.set_tokens_per_s(static_cast<double>(tokens) / seconds);
  if (route_) {
    progress.set_path(ToProto(route_->path));
    progress.set_reason(ToProto(route_->reason));
  }
  return progress;
}

void IngestCall::SendProgress(v1::IngestProgress progress) {
  {
    absl::MutexLock lock(&mutex_);
    waiting_ = std::move(progress);
  }
  Pump();
}

void IngestCall::End(const absl::Status& status) {
  use_.reset();
  {
    absl::MutexLock lock(&mutex_);
    turn_.reset();
    end_ = status;
    if (!status.ok()) waiting_.reset();
  }
  Pump();
}

void IngestCall::Pump() {
  // Finish may let OnDone run on another thread before it returns.
  const std::shared_ptr<IngestCall> keep_alive = shared_from_this();
  std::optional<absl::Status> finish;
  {
    absl::MutexLock lock(&mutex_);
    if (writing_ || finished_) return;
    if (waiting_ && !unwritable_) {
      in_flight_ = *std::exchange(waiting_, std::nullopt);
      writing_ = true;
      if (probe_ == Probe::kWaiting) probe_ = Probe::kInFlight;
    } else if (end_ && starting_reads_ == 0) {
      finished_ = true;
      finish = end_->ok() && unwritable_ ? absl::CancelledError("the call was cancelled") : *end_;
    } else {
      return;
    }
  }
  if (finish) {
    Finish(call_.Finish(*finish));
  } else {
    StartWrite(&in_flight_);
  }
}

void IngestCall::OnWriteDone(bool ok) {
  bool answered;
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    unwritable_ = unwritable_ || !ok;
    answered = probe_ == Probe::kInFlight || (probe_ == Probe::kWaiting && !ok);
    if (answered) {
      probe_ = Probe::kNone;
      answered = std::exchange(waiting_for_client_, false);
    }
  }
  if (!ok) CancelTurn();
  if (!answered) return Pump();
  if (!ok) return End(absl::CancelledError("the call was cancelled"));
  input_ended_ = true;
  std::vector<TokenId> tokens;
  const absl::Status status = FlushText(tokens);
  Ingest(status, std::move(tokens));
}

void IngestCall::OnCancel() { CancelTurn(); }

void IngestCall::CancelTurn() {
  std::shared_ptr<Turn> turn;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    turn = turn_;
  }
  if (turn != nullptr) context_.engine.Cancel(turn);
}

void IngestCall::OnDone() {
  // Destroys this object, unless the engine still holds it.
  const std::shared_ptr<IngestCall> self = std::move(self_);
}

}  // namespace memgate
