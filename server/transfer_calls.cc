#include "server/transfer_calls.h"

#include <algorithm>
#include <utility>

#include "server/convert.h"
#include "server/error.h"
#include "server/session_requests.h"

namespace memgate {
namespace {

constexpr size_t kChunkBytes = 256 << 10;       // as promised in session.proto
constexpr int64_t kSnapshotHeaderBytes = 4096;  // what a snapshot holds beside the session's state, at most

}  // namespace

ExportCall::ExportCall(const ServiceContext& context, const grpc::CallbackServerContext& rpc)
    : context_(context), call_(context, "ExportSession", rpc), snapshot_(context.transfers) {}

grpc::ServerWriteReactor<v1::ExportSessionResponse>* ExportCall::Start(
    const ServiceContext& context, const grpc::CallbackServerContext& rpc,
    const v1::ExportSessionRequest& request) {
  auto* call = new ExportCall(context, rpc);
  absl::Status status = call->call_.permission();
  if (status.ok()) status = call->TakeSnapshot(request);
  if (status.ok()) {
    call->WriteNext();
  } else {
    call->End(status);
  }
  return call;
}

absl::Status ExportCall::TakeSnapshot(const v1::ExportSessionRequest& request) {
  auto id = ParseSessionName("name", request.name());
  if (!id.ok()) return id.status();
  auto use = context_.sessions.Begin(call_.tenant(), *id);
  if (!use.ok()) return use.status();
  const SessionInfo info = context_.engine.Describe(*(*use)->session());
  return snapshot_.Fill(info.bytes + info.chat_bytes + kSnapshotHeaderBytes,
                        [&] { return context_.engine.Export(*(*use)->lease()); });
}

void ExportCall::WriteNext() {
  const size_t bytes = std::min(kChunkBytes, snapshot_.data().size() - sent_bytes_);
  if (bytes == 0) {
    End(absl::OkStatus());
    return;
  }
  message_.set_chunk(snapshot_.data().data() + sent_bytes_, bytes);
  sent_bytes_ += bytes;
  StartWrite(&message_);
}

void ExportCall::OnWriteDone(bool ok) {
  if (ok) {
    WriteNext();
  } else {
    End(absl::CancelledError("the client stopped reading"));
  }
}

void ExportCall::End(const absl::Status& status) {
  snapshot_.Clear();  // whoever sees the end of the call finds its bytes free
  Finish(call_.Finish(status));
}

ImportCall::ImportCall(const ServiceContext& context, const grpc::CallbackServerContext& rpc,
                       v1::Session* response)
    : context_(context),
      call_(context, "ImportSession", rpc),
      response_(response),
      snapshot_(context.transfers) {}

grpc::ServerReadReactor<v1::ImportSessionRequest>* ImportCall::Start(const ServiceContext& context,
                                                                     const grpc::CallbackServerContext& rpc,
                                                                     v1::Session* response) {
  auto* call = new ImportCall(context, rpc, response);
  absl::Status status = call->call_.permission();
  if (status.ok()) status = call->call_.CheckAcceptsNewState();
  if (status.ok()) {
    call->StartRead(&call->message_);
  } else {
    call->End(status);
  }
  return call;
}

void ImportCall::OnReadDone(bool ok) {
  if (!ok) {
    // The stream ended properly or the call was cancelled, and OnCancel may not have come yet. Sending
    // something tells: it fails on a cancelled call.
    StartSendInitialMetadata();
    return;
  }
  const absl::Status status = TakeMessage();
  if (status.ok()) {
    StartRead(&message_);
  } else {
    End(status);
  }
}

void ImportCall::OnSendInitialMetadataDone(bool ok) {
  End(ok ? Complete() : absl::CancelledError("the call was cancelled"));
}

absl::Status ImportCall::TakeMessage() {
  if (std::exchange(first_, false)) {
    if (auto s = CheckSessionId("session_id", message_.session_id()); !s.ok()) return s;
    session_id_ = message_.session_id();
  }
  return snapshot_.Append(message_.chunk());
}

absl::Status ImportCall::Complete() {
  if (first_) return FieldError("chunk", "the stream holds no snapshot");
  auto record = context_.sessions.Create(call_.tenant(), session_id_, {.ttl = context_.limits.default_ttl},
                                         "", [this] { return context_.engine.Import(snapshot_.data()); });
  if (!record.ok())
    return WithDefaultReason(record.status(), absl::StatusCode::kInvalidArgument, "SNAPSHOT_INVALID");
  *response_ = ToProto(*record, context_.engine.Describe(*record->session), context_.engine.model());
  return absl::OkStatus();
}

void ImportCall::End(const absl::Status& status) {
  snapshot_.Clear();  // whoever sees the end of the call finds its bytes free
  Finish(call_.Finish(status));
}

}  // namespace memgate
