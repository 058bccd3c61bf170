// memgate.v1.ModelService.
#ifndef MEMGATE_SERVER_MODEL_SERVICE_H_
#define MEMGATE_SERVER_MODEL_SERVICE_H_

#include "memgate/v1/model.grpc.pb.h"
#include "server/service_context.h"

namespace memgate {

class ModelService final : public v1::ModelService::CallbackService {
 public:
  explicit ModelService(const ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* rpc, const v1::GetModelRequest* request,
                                     v1::Model* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* rpc, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;

 private:
  const ServiceContext& context_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_MODEL_SERVICE_H_
