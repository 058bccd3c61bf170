// A server whose answers a test writes down.
#ifndef MEMGATE_TESTS_CLIENT_FAKE_SERVER_H_
#define MEMGATE_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "memgate/v1/inference.grpc.pb.h"
#include "memgate/v1/model.grpc.pb.h"
#include "memgate/v1/session.grpc.pb.h"

namespace memgate {

class FakeServer : public v1::InferenceService::Service,
                   public v1::SessionService::Service,
                   public v1::ModelService::Service {
 public:
  FakeServer();
  ~FakeServer() override;

  std::string address() const;

  // What the next calls do.
  std::vector<v1::GenerateResponse> generated;
  bool generate_until_cancelled = false;  // after `generated`
  grpc::Status generate_status;
  int ingest_messages_read = 0;  // stop reading after so many; 0 = all
  grpc::Status ingest_status;
  v1::IngestProgress ingest_result;  // what the last message adds
  grpc::Status memory_status;
  v1::SessionMemory memory;           // what GetSessionMemory returns
  std::vector<v1::Session> sessions;  // ListSessions pages through them two at a time
  std::string snapshot;               // what ExportSession sends, 3 bytes at a time

  // What calls left behind.
  std::string authorization;
  v1::GenerateRequest generate_request;
  std::string ingested;
  v1::GetSessionMemoryRequest memory_request;
  v1::IngestRequest first_ingest_request, last_ingest_request;
  std::string imported;
  std::string imported_id;
  std::vector<std::string> deleted;

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Ingest(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<v1::IngestProgress, v1::IngestRequest>* stream) override;
  grpc::Status CreateSession(grpc::ServerContext* context, const v1::CreateSessionRequest* request,
                             v1::Session* response) override;
  grpc::Status GetSession(grpc::ServerContext* context, const v1::GetSessionRequest* request,
                          v1::Session* response) override;
  grpc::Status GetSessionMemory(grpc::ServerContext* context, const v1::GetSessionMemoryRequest* request,
                                v1::SessionMemory* response) override;
  grpc::Status ListSessions(grpc::ServerContext* context, const v1::ListSessionsRequest* request,
                            v1::ListSessionsResponse* response) override;
  grpc::Status DeleteSession(grpc::ServerContext* context, const v1::DeleteSessionRequest* request,
                             google::protobuf::Empty* response) override;
  grpc::Status ExportSession(grpc::ServerContext* context, const v1::ExportSessionRequest* request,
                             grpc::ServerWriter<v1::ExportSessionResponse>* writer) override;
  grpc::Status ImportSession(grpc::ServerContext* context,
                             grpc::ServerReader<v1::ImportSessionRequest>* reader,
                             v1::Session* response) override;
  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override;

 private:
  void Note(grpc::ServerContext* context);

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_CLIENT_FAKE_SERVER_H_
