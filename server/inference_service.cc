#include "server/inference_service.h"

#include "server/call.h"
#include "server/generate_call.h"
#include "server/generate_request.h"
#include "server/ingest_call.h"

namespace memgate {

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(
    grpc::CallbackServerContext* rpc, const v1::GenerateRequest* request) {
  return GenerateCall::Start(context_, *rpc, *request);
}

grpc::ServerBidiReactor<v1::IngestRequest, v1::IngestProgress>* InferenceService::Ingest(
    grpc::CallbackServerContext* rpc) {
  return IngestCall::Start(context_, *rpc);
}

grpc::ServerUnaryReactor* InferenceService::CountTokens(grpc::CallbackServerContext* rpc,
                                                        const v1::CountTokensRequest* request,
                                                        v1::CountTokensResponse* response) {
  return RunUnary(context_, "CountTokens", rpc, [&](Call&) {
    const auto tokens = EncodeInput(*request, context_.engine);
    if (!tokens.ok()) return tokens.status();
    response->set_tokens(static_cast<int64_t>(tokens->size()));
    response->mutable_token_ids()->Assign(tokens->begin(), tokens->end());
    return absl::OkStatus();
  });
}

}  // namespace memgate
