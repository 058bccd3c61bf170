// memgate.v1.SessionService.
#ifndef MEMGATE_SERVER_SESSION_SERVICE_H_
#define MEMGATE_SERVER_SESSION_SERVICE_H_

#include "memgate/v1/session.grpc.pb.h"
#include "server/service_context.h"

namespace memgate {

class SessionService final : public v1::SessionService::CallbackService {
 public:
  explicit SessionService(const ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* CreateSession(grpc::CallbackServerContext* rpc,
                                          const v1::CreateSessionRequest* request,
                                          v1::Session* response) override;
  grpc::ServerUnaryReactor* GetSession(grpc::CallbackServerContext* rpc, const v1::GetSessionRequest* request,
                                       v1::Session* response) override;
  grpc::ServerUnaryReactor* GetSessionMemory(grpc::CallbackServerContext* rpc,
                                             const v1::GetSessionMemoryRequest* request,
                                             v1::SessionMemory* response) override;
  grpc::ServerUnaryReactor* ListSessions(grpc::CallbackServerContext* rpc,
                                         const v1::ListSessionsRequest* request,
                                         v1::ListSessionsResponse* response) override;
  grpc::ServerUnaryReactor* UpdateSession(grpc::CallbackServerContext* rpc,
                                          const v1::UpdateSessionRequest* request,
                                          v1::Session* response) override;
  grpc::ServerUnaryReactor* DeleteSession(grpc::CallbackServerContext* rpc,
                                          const v1::DeleteSessionRequest* request,
                                          google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ForkSession(grpc::CallbackServerContext* rpc,
                                        const v1::ForkSessionRequest* request,
                                        v1::Session* response) override;
  grpc::ServerUnaryReactor* ResetSession(grpc::CallbackServerContext* rpc,
                                         const v1::ResetSessionRequest* request,
                                         v1::Session* response) override;
  grpc::ServerWriteReactor<v1::ExportSessionResponse>* ExportSession(
      grpc::CallbackServerContext* rpc, const v1::ExportSessionRequest* request) override;
  grpc::ServerReadReactor<v1::ImportSessionRequest>* ImportSession(grpc::CallbackServerContext* rpc,
                                                                   v1::Session* response) override;

 private:
  const ServiceContext& context_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_SESSION_SERVICE_H_
