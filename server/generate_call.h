// One Generate RPC: from the request to the last message of the stream.
#ifndef MEMGATE_SERVER_GENERATE_CALL_H_
#define MEMGATE_SERVER_GENERATE_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"
#include "memgate/v1/inference.pb.h"
#include "server/call.h"
#include "server/event_queue.h"
#include "server/rendezvous.h"

namespace memgate {

// Between two threads: the engine's, which reports events and must never wait, and gRPC's, which sends one
// message at a time. Events pass through an EventQueue. The RPC finishes after the engine reported the end
// (or when nothing was submitted), and the session is free before the client sees the stream's end.
//
// The object lives until gRPC (OnDone) and the engine have both let go of it.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                           public TurnObserver,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  // Never fails: errors become the RPC's status.
  static grpc::ServerWriteReactor<v1::GenerateResponse>* Start(const ServiceContext& context,
                                                               const grpc::CallbackServerContext& rpc,
                                                               const v1::GenerateRequest& request);

  // For gRPC.
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // For the engine.
  void OnStart(const TurnStart& start) override;
  void OnProgress(const TurnProgress& progress) override;
  void OnDelta(const TurnDelta& delta) override;
  void OnEnd(const TurnEnd& end) override;

 private:
  GenerateCall(const ServiceContext& context, const grpc::CallbackServerContext& rpc);

  // Checks the request and submits it. On OK either the engine or a replay will end the call.
  absl::Status Run(const v1::GenerateRequest& request);
  absl::Status Submit(TurnRequest turn);
  void Replay(const Answer& answer);
  void Send(v1::GenerateResponse event);
  void Record(const v1::GenerateResponse& event);
  void EndTurn();
  void End(const absl::Status& status);
  // Sends what waits, one message at a time, and finishes when all is sent and the end is known.
  void Pump();
  void CancelTurn();

  const ServiceContext& context_;
  Call call_;
  std::shared_ptr<GenerateCall> self_;  // dropped in OnDone
  bool with_logprobs_ = false;
  v1::ResponseFormat::FormatCase format_ = v1::ResponseFormat::FORMAT_NOT_SET;
  v1::ChatPrefix chat_prefix_ = v1::CHAT_PREFIX_UNSPECIFIED;
  absl::Time submitted_at_;
  std::unique_ptr<SessionRegistry::Use> use_;  // null for an ephemeral request
  Rendezvous submitted_and_ended_;
  absl::Status turn_status_;   // how the turn ended
  v1::GenerateResponse done_;  // and the message that says so
  std::optional<ReplayCache::Key> replay_key_;
  Answer recorded_;

  absl::Mutex mutex_;
  EventQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Turn> turn_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool unwritable_ ABSL_GUARDED_BY(mutex_) = false;  // the client is gone
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  v1::GenerateResponse in_flight_;  // owned by gRPC while writing_
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_GENERATE_CALL_H_
