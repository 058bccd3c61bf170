#include "server/tls.h"

#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace memgate {
namespace {

absl::StatusOr<std::string> ReadFile(absl::string_view flag, const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return absl::InvalidArgumentError(absl::StrCat(flag, ": cannot read ", path));
  return text.str();
}

absl::Status FileError(absl::string_view flag, const std::string& path, absl::string_view what) {
  char reason[256] = "unknown error";
  if (const unsigned long code = ERR_peek_last_error(); code != 0)
    ERR_error_string_n(code, reason, sizeof(reason));
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, " ", what, " (", reason, ")"));
}

}  // namespace

absl::Status CheckTlsFiles(const Options& options) {
  if (!options.uses_tls()) return absl::OkStatus();
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_server_method()),
                                                                  &SSL_CTX_free);
  if (context == nullptr) return absl::InternalError("OpenSSL cannot be initialised");
  if (SSL_CTX_use_certificate_chain_file(context.get(), options.tls_cert.c_str()) != 1) {
    return FileError("--tls-cert", options.tls_cert, "holds no usable PEM certificate");
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), options.tls_key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return FileError("--tls-key", options.tls_key, "holds no PEM private key of that certificate");
  }
  if (options.uses_mtls() &&
      SSL_CTX_load_verify_locations(context.get(), options.tls_client_ca.c_str(), nullptr) != 1) {
    return FileError("--tls-client-ca", options.tls_client_ca, "holds no usable PEM certificate");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const Options& options) {
  if (!options.uses_tls()) return grpc::InsecureServerCredentials();
  if (auto s = CheckTlsFiles(options); !s.ok()) return s;
  auto certificate = ReadFile("--tls-cert", options.tls_cert);
  if (!certificate.ok()) return certificate.status();
  auto key = ReadFile("--tls-key", options.tls_key);
  if (!key.ok()) return key.status();
  // A client without a certificate may connect, because a health probe has none; Authenticator refuses its
  // calls. One that shows a certificate of another authority may not.
  grpc::SslServerCredentialsOptions ssl(options.uses_mtls() ? GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY
                                                            : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  ssl.pem_key_cert_pairs.push_back({*std::move(key), *std::move(certificate)});
  if (options.uses_mtls()) {
    auto authorities = ReadFile("--tls-client-ca", options.tls_client_ca);
    if (!authorities.ok()) return authorities.status();
    ssl.pem_root_certs = *std::move(authorities);
  }
  return grpc::SslServerCredentials(ssl);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeProbeCredentials(const Options& options) {
  if (!options.uses_tls()) return grpc::InsecureChannelCredentials();
  auto certificate = ReadFile("--tls-cert", options.tls_cert);
  if (!certificate.ok()) return certificate.status();
  grpc::experimental::TlsChannelCredentialsOptions tls;
  tls.set_verify_server_certs(false);
  tls.set_check_call_host(false);
  tls.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  tls.set_certificate_provider(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(*certificate));
  tls.watch_root_certs();
  return grpc::experimental::TlsCredentials(tls);
}

}  // namespace memgate
