#include "server/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/probe.h"
#include "tests/server/certificates.h"
#include "tests/server/test_server.h"

namespace memgate {
namespace {

using testing::HasSubstr;

class TlsTest : public testing::Test {
 protected:
  TlsTest() {
    const PemPair pair = authority_.Issue("gateway");
    options_.tls_cert = folder_.Write("cert.pem", pair.certificate);
    options_.tls_key = folder_.Write("key.pem", pair.key);
    authority_file_ = folder_.Write("ca.pem", authority_.certificate());
  }
  TestServer::Setup MakeSetup() {
    TestServer::Setup setup;
    setup.options = options_;
    return setup;
  }
  std::shared_ptr<grpc::ChannelCredentials> Client(const PemPair& pair = {}) {
    return grpc::SslCredentials({authority_.certificate(), pair.key, pair.certificate});
  }
  static Generated Ask(TestServer& server, std::shared_ptr<grpc::ChannelCredentials> credentials,
                       const std::string& session = "") {
    const auto stub = v1::InferenceService::NewStub(server.Connect(std::move(credentials)));
    return Generate(*stub, PromptRequest(session, "x", 1));
  }
  static grpc::Status Create(TestServer& server, std::shared_ptr<grpc::ChannelCredentials> credentials,
                             const std::string& id) {
    const auto stub = v1::SessionService::NewStub(server.Connect(std::move(credentials)));
    grpc::ClientContext context;
    Bound(context);
    v1::CreateSessionRequest request;
    request.set_session_id(id);
    v1::Session session;
    return stub->CreateSession(&context, request, &session);
  }

  TempFolder folder_;
  CertificateAuthority authority_{"test authority"};
  std::string authority_file_;
  Options options_;
};

TEST_F(TlsTest, ServesClientsThatTrustItsCertificate) {
  TestServer server(MakeSetup());
  const Generated result = Ask(server, Client());
  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
}

TEST_F(TlsTest, PlainTextAndOtherTrustDoNotConnect) {
  TestServer server(MakeSetup());
  EXPECT_EQ(Ask(server, grpc::InsecureChannelCredentials()).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  const CertificateAuthority stranger("stranger");
  EXPECT_EQ(Ask(server, grpc::SslCredentials({stranger.certificate(), "", ""})).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, MutualTlsRequiresACertificateOfTheAuthority) {
  options_.tls_client_ca = authority_file_;
  TestServer server(MakeSetup());
  EXPECT_TRUE(Ask(server, Client(authority_.Issue("plant-a"))).status.ok());
  const grpc::Status missing = Ask(server, Client()).status;
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ErrorInfoOf(missing).reason(), "CREDENTIALS_MISSING");
  const CertificateAuthority stranger("stranger");
  EXPECT_EQ(Ask(server, Client(stranger.Issue("plant-a"))).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, WithMutualTlsTheCommonNameIsTheTenant) {
  options_.tls_client_ca = authority_file_;
  TestServer server(MakeSetup());
  const PemPair a = authority_.Issue("plant-a");
  const PemPair b = authority_.Issue("plant-b");
  ASSERT_TRUE(Create(server, Client(a), "s").ok());
  EXPECT_TRUE(Ask(server, Client(a), "s").status.ok());
  EXPECT_EQ(Ask(server, Client(b), "s").status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(server.server().sessions().Get("plant-a", "s").ok());
}

TEST_F(TlsTest, WithKeysAndMutualTlsACallNeedsBoth) {
  options_.tls_client_ca = authority_file_;
  options_.api_keys = folder_.Write("keys", "plant-a key-of-plant-a-0001\n");
  TestServer server(MakeSetup());
  const auto ask = [&](const PemPair& pair, const std::string& key) {
    const auto stub = v1::InferenceService::NewStub(server.Connect(Client(pair)));
    return Generate(*stub, PromptRequest("", "x", 1), key).status.error_code();
  };
  const PemPair pair = authority_.Issue("gateway-1");
  EXPECT_EQ(ask(pair, "key-of-plant-a-0001"), grpc::StatusCode::OK);
  EXPECT_EQ(ask({}, "key-of-plant-a-0001"), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ask(pair, ""), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(TlsTest, TheProbeConnectsWithTheServersOwnFiles) {
  {
    TestServer server(MakeSetup());
    EXPECT_TRUE(Probe(options_, server.server().address()).ok())
        << Probe(options_, server.server().address());
    EXPECT_FALSE(Probe(Options(), server.server().address()).ok()) << "without TLS it is no answer";
  }
  const CertificateAuthority of_clients("authority of clients");
  options_.tls_client_ca = folder_.Write("clients.pem", of_clients.certificate());
  TestServer mutual(MakeSetup());
  EXPECT_TRUE(Probe(options_, mutual.server().address()).ok()) << Probe(options_, mutual.server().address());
}

TEST_F(TlsTest, CheckNamesTheFileThatIsWrong) {
  EXPECT_TRUE(CheckTlsFiles(options_).ok());
  Options missing = options_;
  missing.tls_cert = folder_.File("none.pem");
  EXPECT_THAT(std::string(CheckTlsFiles(missing).message()), HasSubstr("--tls-cert: " + missing.tls_cert));
  Options other_key = options_;
  other_key.tls_key = folder_.Write("other.pem", authority_.Issue("other").key);
  EXPECT_THAT(std::string(CheckTlsFiles(other_key).message()), HasSubstr("--tls-key: " + other_key.tls_key));
  Options bad_authority = options_;
  bad_authority.tls_client_ca = folder_.Write("bad.pem", "no certificate");
  EXPECT_THAT(std::string(CheckTlsFiles(bad_authority).message()), HasSubstr("--tls-client-ca"));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeServerCredentials(bad_authority).status()));
}

}  // namespace
}  // namespace memgate
