// Certificates made on the spot, so that no key is ever committed.
#ifndef MEMGATE_TESTS_SERVER_CERTIFICATES_H_
#define MEMGATE_TESTS_SERVER_CERTIFICATES_H_

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace memgate {

struct PemPair {
  std::string certificate;
  std::string key;
};

// A certificate authority that signs certificates valid for one day. Aborts the test program on failure.
class CertificateAuthority {
 public:
  explicit CertificateAuthority(const std::string& name);
  // PEM of the authority's own certificate.
  std::string certificate() const;
  // For both servers and clients; valid for "localhost" and 127.0.0.1.
  PemPair Issue(const std::string& common_name) const;

 private:
  std::shared_ptr<EVP_PKEY> key_;
  std::shared_ptr<X509> certificate_;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_SERVER_CERTIFICATES_H_
