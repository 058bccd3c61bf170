#include "server/generate_call.h"

#include <utility>

#include "server/convert.h"
#include "server/error.h"
#include "server/generate_request.h"
#include "server/session_requests.h"

namespace memgate {
namespace {

// A client that keeps up never has more than a few messages waiting; one that does not gets longer ones.
constexpr size_t kMaxWaitingMessages = 64;

}  // namespace

GenerateCall::GenerateCall(const ServiceContext& context, const grpc::CallbackServerContext& rpc)
    : context_(context), call_(context, "Generate", rpc), queue_(kMaxWaitingMessages) {}

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerateCall::Start(const ServiceContext& context,
                                                                    const grpc::CallbackServerContext& rpc,
                                                                    const v1::GenerateRequest& request) {
  const std::shared_ptr<GenerateCall> call(new GenerateCall(context, rpc));
  call->self_ = call;
  if (const absl::Status status = call->Run(request); !status.ok()) call->End(status);
  return call.get();
}

absl::Status GenerateCall::Run(const v1::GenerateRequest& request) {
  if (!call_.permission().ok()) return call_.permission();
  if (auto s = CheckRequestId(request.request_id()); !s.ok()) return s;
  auto turn =
      ReadGenerateRequest(request, context_.engine.model(), context_.limits.generate, context_.random_seed());
  if (!turn.ok()) return turn.status();
  with_logprobs_ = request.has_logprobs();
  turn->deadline = call_.deadline();

  std::string session_id;
  absl::Time session_created;
  if (!request.session().empty()) {
    auto id = ParseSessionName("session", request.session());
    if (!id.ok()) return id.status();
    session_id = *std::move(id);
    auto record = context_.sessions.Get(call_.tenant(), session_id);
    if (!record.ok()) return record.status();
    session_created = record->create_time;
  }
  if (!request.request_id().empty()) {
    const ReplayCache::Key key{call_.tenant(), session_id, request.request_id(), session_created};
    auto answer = context_.replays.Begin(key);
    if (!answer.ok()) return answer.status();
    if (*answer != nullptr) {
      Replay(**answer);
      return absl::OkStatus();
    }
    replay_key_ = key;
  }
  auto constraint = ReadConstraint(request, context_.engine);
  if (!constraint.ok()) return constraint.status();
  turn->constraint = *std::move(constraint);
  format_ = request.response_format().format_case();
  ConversationState state = ConversationState::kEmpty;
  if (!session_id.empty()) {
    auto use = context_.sessions.Begin(call_.tenant(), session_id);
    if (!use.ok()) return use.status();
    use_ = *std::move(use);
    if (context_.engine.Describe(*use_->session()).accounting.total > 0) state = ConversationState::kStarted;
  }
  if (request.has_chat() && use_ != nullptr) {
    auto input = EncodeChatInput(request.chat(), context_.engine, *use_->lease());
    if (!input.ok()) return input.status();
    chat_prefix_ = input->prefix;
    turn->tokens = std::move(input->tokens);
    turn->rebuilds = input->rebuilds;
    turn->replaces_end = input->replaces_end;
    turn->chat = std::move(input->tail);
  } else {
    auto tokens = EncodeInput(request, context_.engine, state);
    if (!tokens.ok()) return tokens.status();
    turn->tokens = *std::move(tokens);
  }
  return Submit(*std::move(turn));
}

absl::Status GenerateCall::Submit(TurnRequest request) {
  if (use_ != nullptr) request.lease = use_->TakeLease();
  submitted_at_ = context_.clock();
  auto turn = context_.engine.Submit(std::move(request), shared_from_this());
  if (!turn.ok()) return turn.status();
  if (use_ != nullptr) use_->Attach(*turn);
  bool cancel;
  {
    absl::MutexLock lock(&mutex_);
    turn_ = *turn;
    cancel = cancelled_;
  }
  if (cancel) CancelTurn();
  if (submitted_and_ended_.ArriveSecond()) EndTurn();
  return absl::OkStatus();
}

void GenerateCall::Replay(const Answer& answer) {
  for (const v1::GenerateResponse& event : answer) Send(event);
  End(absl::OkStatus());
}

void GenerateCall::OnStart(const TurnStart& start) {
  context_.metrics.CountRoute(start.route);
  context_.metrics.CountFormat(format_);
  v1::GenerateResponse event;
  *event.mutable_route() = ToProto(start);
  event.mutable_route()->set_chat_prefix(chat_prefix_);
  Send(std::move(event));
}

void GenerateCall::OnProgress(const TurnProgress&) {}

void GenerateCall::OnDelta(const TurnDelta& delta) {
  v1::GenerateResponse event;
  *event.mutable_delta() = ToProto(delta, context_.engine.tokenizer(), with_logprobs_);
  Send(std::move(event));
}

void GenerateCall::OnEnd(const TurnEnd& end) {
  const absl::Duration before_submit = submitted_at_ - call_.arrival();
  context_.metrics.CountTurn(end, before_submit);
  turn_status_ = end.status;
  *done_.mutable_done() = ToProto(end, before_submit);
  if (submitted_and_ended_.ArriveSecond()) EndTurn();
}

void GenerateCall::EndTurn() {
  absl::Status status = turn_status_;
  if (absl::IsCancelled(status) && use_ != nullptr && use_->deleted()) {
    status = ErrorWithReason(absl::StatusCode::kAborted, "SESSION_DELETED",
                             "the session was deleted while it answered");
  }
  use_.reset();
  if (status.ok()) Send(std::move(done_));
  End(status);
}

void GenerateCall::Send(v1::GenerateResponse event) {
  if (replay_key_) Record(event);
  {
    absl::MutexLock lock(&mutex_);
    queue_.Push(std::move(event));
  }
  Pump();
}

void GenerateCall::Record(const v1::GenerateResponse& event) {
  if (!recorded_.empty() && recorded_.back().has_delta() && event.has_delta() &&
      recorded_.back().ByteSizeLong() + event.ByteSizeLong() <= EventQueue::kMaxMergedBytes) {
    MergeDelta(event.delta(), *recorded_.back().mutable_delta());
  } else {
    recorded_.push_back(event);
  }
}

void GenerateCall::End(const absl::Status& status) {
  use_.reset();
  if (replay_key_) {
    if (status.ok()) {
      context_.replays.Store(*replay_key_, std::move(recorded_));
    } else {
      context_.replays.Abandon(*replay_key_);
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    turn_.reset();
    end_ = status;
  }
  Pump();
}

void GenerateCall::Pump() {
  // Finish may let OnDone run on another thread before it returns.
  const std::shared_ptr<GenerateCall> keep_alive = shared_from_this();
  std::optional<absl::Status> finish;
  {
    absl::MutexLock lock(&mutex_);
    if (writing_ || finished_) return;
    std::optional<v1::GenerateResponse> next;
    if (!unwritable_) next = queue_.Pop();
    if (next) {
      in_flight_ = *std::move(next);
      writing_ = true;
    } else if (end_) {
      finished_ = true;
      finish = end_;
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

void GenerateCall::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    unwritable_ = unwritable_ || !ok;
  }
  if (!ok) CancelTurn();
  Pump();
}

void GenerateCall::OnCancel() { CancelTurn(); }

void GenerateCall::CancelTurn() {
  std::shared_ptr<Turn> turn;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    turn = turn_;
  }
  if (turn != nullptr) context_.engine.Cancel(turn);
}

void GenerateCall::OnDone() {
  // Destroys this object, unless the engine still holds it.
  const std::shared_ptr<GenerateCall> self = std::move(self_);
}

}  // namespace memgate
