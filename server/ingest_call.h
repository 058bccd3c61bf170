// One Ingest RPC: text in at the pace at which the engine takes it in, progress out.
#ifndef MEMGATE_SERVER_INGEST_CALL_H_
#define MEMGATE_SERVER_INGEST_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"
#include "memgate/v1/inference.pb.h"
#include "server/call.h"
#include "server/rendezvous.h"

namespace memgate {

// Back-pressure: the next message is read when the engine has taken in the previous one, so a fast sender
// fills its own HTTP/2 window and not our memory. The session's lease is held for the whole call; every
// message becomes one engine turn. At most one read and one write are under way; progress that comes faster
// than it can be sent is replaced by newer progress.
//
// The object lives until gRPC (OnDone) and the engine have both let go of it.
class IngestCall final : public grpc::ServerBidiReactor<v1::IngestRequest, v1::IngestProgress>,
                         public TurnObserver,
                         public std::enable_shared_from_this<IngestCall> {
 public:
  static grpc::ServerBidiReactor<v1::IngestRequest, v1::IngestProgress>* Start(
      const ServiceContext& context, const grpc::CallbackServerContext& rpc);

  // For gRPC.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // For the engine.
  void OnStart(const TurnStart& start) override;
  void OnProgress(const TurnProgress& progress) override;
  void OnDelta(const TurnDelta& delta) override;
  void OnEnd(const TurnEnd& end) override;

 private:
  IngestCall(const ServiceContext& context, const grpc::CallbackServerContext& rpc);

  // Appends what the message in request_ adds, on an error what precedes the fault; opens the session first
  // if none is open.
  absl::Status TakeMessage(std::vector<TokenId>& tokens);
  absl::Status OpenSession();
  absl::Status FlushText(std::vector<TokenId>& tokens);
  // Submits `tokens`, then ends the call if `status` is an error; without any, goes on to the next message or
  // the end at once.
  void Ingest(const absl::Status& status, std::vector<TokenId> tokens);
  // No message follows: the client half-closed or cancelled, and OnCancel may not have come yet. Text held
  // back is taken in only once a write has shown that the call still lives: it fails on a cancelled one.
  void EndInput();
  void SessionDeleted();
  void EndTurn();
  // What was read has been taken in.
  void GoOn();
  void Complete();
  v1::IngestProgress Progress(const TurnProgress& turn) const;
  // Progress between two turns.
  v1::IngestProgress ProgressSoFar() const;
  void CountBytes(int64_t processed_tokens);
  void SendProgress(v1::IngestProgress progress);
  void End(const absl::Status& status);
  void Pump();
  void CancelTurn();

  enum class Probe { kNone, kWaiting, kInFlight };  // the write that EndInput asks for

  const ServiceContext& context_;
  Call call_;
  std::shared_ptr<IngestCall> self_;  // dropped in OnDone

  // Handed to and fro between the gRPC thread that read a message and the engine's thread that takes it in,
  // never used by both at once.
  v1::IngestRequest request_;
  std::unique_ptr<SessionRegistry::Use> use_;
  Rendezvous submitted_and_ended_;
  absl::Status turn_status_;   // how the last turn ended
  absl::Status input_status_;  // what ends the call after the running turn
  std::optional<StreamingTokenizer>
      tokenizer_;  // while text comes; the next text after token ids gets a new one
  bool conversation_started_ = false;
  bool input_ended_ = false;
  std::vector<TokenId> turn_tokens_;  // of the running turn
  int64_t turn_bytes_counted_ = 0;    // of turn_tokens_: how many are in taken_bytes_
  int64_t taken_bytes_ = 0;           // text of tokens taken in
  int64_t taken_tokens_ = 0;          // of finished turns
  int64_t received_bytes_ = 0;
  TokenAccounting accounting_;
  std::optional<TextScore> score_;  // of finished turns, if the client asked for it
  std::optional<RouteDecision> route_;

  absl::Mutex mutex_;
  std::shared_ptr<Turn> turn_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::IngestProgress> waiting_ ABSL_GUARDED_BY(mutex_);
  // Set while a read or the probe is under way. Whoever clears it goes on with the call, or ends it.
  bool waiting_for_client_ ABSL_GUARDED_BY(mutex_) = false;
  bool deleted_ ABSL_GUARDED_BY(mutex_) = false;
  int starting_reads_ ABSL_GUARDED_BY(mutex_) = 0;  // calls of StartRead that Finish must not overtake
  Probe probe_ ABSL_GUARDED_BY(mutex_) = Probe::kNone;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool unwritable_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  v1::IngestProgress in_flight_;  // owned by gRPC while writing_
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_INGEST_CALL_H_
