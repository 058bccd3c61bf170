// Transport security from PEM files.
#ifndef MEMGATE_SERVER_TLS_H_
#define MEMGATE_SERVER_TLS_H_

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/options.h"

namespace memgate {

// Whether the TLS files of `options` can be read, are certificates and keys, and belong together.
// INVALID_ARGUMENT names the flag and the file. OK without TLS.
absl::Status CheckTlsFiles(const Options& options);

// What to listen with: TLS, mutual TLS (client certificates asked for and verified; requiring them is the
// Authenticator's part) or plain text.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const Options& options);

// What a health probe of this very server connects with. The server's certificate is not verified: the probe
// sends nothing secret, and the certificate names the host, not 127.0.0.1. Nor does the probe show
// one with mutual TLS.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeProbeCredentials(const Options& options);

}  // namespace memgate

#endif  // MEMGATE_SERVER_TLS_H_
