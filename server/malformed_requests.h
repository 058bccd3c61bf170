// What clients hear whose request is no message of ours.
#ifndef MEMGATE_SERVER_MALFORMED_REQUESTS_H_
#define MEMGATE_SERVER_MALFORMED_REQUESTS_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>

namespace memgate {

// Before a handler sees a request, gRPC parses it. What does not parse, be it no protobuf message or one with
// a string that is not UTF-8, it answers with UNIMPLEMENTED and no words. This makes it INVALID_ARGUMENT with
// the reason MALFORMED_REQUEST.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeMalformedRequestInterceptors();

}  // namespace memgate

#endif  // MEMGATE_SERVER_MALFORMED_REQUESTS_H_
