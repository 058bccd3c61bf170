// memgate.v1.InferenceService.
#ifndef MEMGATE_SERVER_INFERENCE_SERVICE_H_
#define MEMGATE_SERVER_INFERENCE_SERVICE_H_

#include "memgate/v1/inference.grpc.pb.h"
#include "server/service_context.h"

namespace memgate {

class InferenceService final : public v1::InferenceService::CallbackService {
 public:
  explicit InferenceService(const ServiceContext& context) : context_(context) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* rpc,
                                                           const v1::GenerateRequest* request) override;
  grpc::ServerBidiReactor<v1::IngestRequest, v1::IngestProgress>* Ingest(
      grpc::CallbackServerContext* rpc) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* rpc,
                                        const v1::CountTokensRequest* request,
                                        v1::CountTokensResponse* response) override;

 private:
  const ServiceContext& context_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_INFERENCE_SERVICE_H_
