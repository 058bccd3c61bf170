#include "server/model_service.h"

#include "absl/strings/str_cat.h"
#include "server/call.h"
#include "server/convert.h"
#include "server/error.h"

namespace memgate {

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* rpc,
                                                 const v1::GetModelRequest* request, v1::Model* response) {
  return RunUnary(context_, "GetModel", rpc, [&](Call&) {
    const ModelInfo& model = context_.engine.model();
    if (request->name() != absl::StrCat("models/", model.name)) {
      return ErrorWithReason(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
                             absl::StrCat("this server runs models/", model.name, " only"));
    }
    *response = ToProto(model);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* rpc,
                                                   const v1::ListModelsRequest*,
                                                   v1::ListModelsResponse* response) {
  return RunUnary(context_, "ListModels", rpc, [&](Call&) {
    *response->add_models() = ToProto(context_.engine.model());
    return absl::OkStatus();
  });
}

}  // namespace memgate
