// ExportSession and ImportSession: snapshots in chunks.
#ifndef MEMGATE_SERVER_TRANSFER_CALLS_H_
#define MEMGATE_SERVER_TRANSFER_CALLS_H_

#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "memgate/v1/session.pb.h"
#include "server/call.h"
#include "server/transfer_bytes.h"

namespace memgate {

// Deletes itself when the RPC is over.
class ExportCall final : public grpc::ServerWriteReactor<v1::ExportSessionResponse> {
 public:
  static grpc::ServerWriteReactor<v1::ExportSessionResponse>* Start(const ServiceContext& context,
                                                                    const grpc::CallbackServerContext& rpc,
                                                                    const v1::ExportSessionRequest& request);
  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  ExportCall(const ServiceContext& context, const grpc::CallbackServerContext& rpc);
  // Takes the snapshot; the session is free again when this returns.
  absl::Status TakeSnapshot(const v1::ExportSessionRequest& request);
  void WriteNext();
  void End(const absl::Status& status);

  const ServiceContext& context_;
  Call call_;
  TransferBytes::Buffer snapshot_;
  size_t sent_bytes_ = 0;
  v1::ExportSessionResponse message_;
};

// Deletes itself when the RPC is over.
class ImportCall final : public grpc::ServerReadReactor<v1::ImportSessionRequest> {
 public:
  static grpc::ServerReadReactor<v1::ImportSessionRequest>* Start(const ServiceContext& context,
                                                                  const grpc::CallbackServerContext& rpc,
                                                                  v1::Session* response);
  void OnReadDone(bool ok) override;
  void OnSendInitialMetadataDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  ImportCall(const ServiceContext& context, const grpc::CallbackServerContext& rpc, v1::Session* response);
  absl::Status TakeMessage();
  absl::Status Complete();
  void End(const absl::Status& status);

  const ServiceContext& context_;
  Call call_;
  v1::Session* const response_;
  TransferBytes::Buffer snapshot_;
  std::string session_id_;
  bool first_ = true;
  v1::ImportSessionRequest message_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_TRANSFER_CALLS_H_
