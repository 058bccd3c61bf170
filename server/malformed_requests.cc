#include "server/malformed_requests.h"

#include "absl/status/status.h"
#include "server/error.h"
#include "server/status_bridge.h"

namespace memgate {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

class MalformedRequestInterceptor : public grpc::experimental::Interceptor {
 public:
  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      malformed_ = methods->GetRecvMessage() == nullptr;
    }
    if (malformed_ && methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      methods->ModifySendStatus(ToGrpcStatus(ErrorWithReason(
          absl::StatusCode::kInvalidArgument, "MALFORMED_REQUEST",
          "the request is no such protobuf message, or one of its strings is not valid UTF-8")));
    }
    methods->Proceed();
  }

 private:
  bool malformed_ = false;
};

class Factory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  // Where clients stream, a message that is missing is the end of the stream.
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    const bool one_request =
        info->type() == ServerRpcInfo::Type::UNARY || info->type() == ServerRpcInfo::Type::SERVER_STREAMING;
    return one_request ? new MalformedRequestInterceptor() : nullptr;
  }
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeMalformedRequestInterceptors() {
  return std::make_unique<Factory>();
}

}  // namespace memgate
