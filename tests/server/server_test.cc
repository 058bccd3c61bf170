#include "server/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "server/probe.h"
#include "tests/server/test_server.h"

namespace memgate {
namespace {

using testing::HasSubstr;
using testing::Not;

// GET /metrics over a plain socket.
std::string Scrape(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string response;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t got; (got = read(fd, buffer, sizeof(buffer))) > 0;) response.append(buffer, got);
  }
  close(fd);
  return response;
}

// The last turn leaves the batch behind the answer to its client.
std::string ScrapeWhenIdle(int port) {
  std::string metrics = Scrape(port);
  for (int i = 0; i < 1000 && metrics.find("memgate_active_turns 0\n") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    metrics = Scrape(port);
  }
  return metrics;
}

TestServer::Setup WithMetrics() {
  TestServer::Setup setup;
  setup.options.metrics_listen = "127.0.0.1:0";
  return setup;
}

// The C++ stub sends what it is given; most clients would refuse to.
TEST(ServerTest, StringsThatAreNotUtf8AreInvalidArguments) {
  TestServer server;
  const grpc::Status generate = Generate(server.inference(), PromptRequest("", "bad \xff", 1)).status;
  EXPECT_EQ(generate.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << generate.error_message();
  EXPECT_THAT(generate.error_message(), HasSubstr("UTF-8"));
  EXPECT_EQ(ErrorInfoOf(generate).reason(), "MALFORMED_REQUEST");

  v1::CountTokensRequest request;
  request.set_prompt("\xC3");
  v1::CountTokensResponse response;
  grpc::ClientContext context;
  Bound(context);
  const grpc::Status count = server.inference().CountTokens(&context, request, &response);
  EXPECT_EQ(count.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << count.error_message();
  EXPECT_TRUE(Generate(server.inference(), PromptRequest("", "good", 1)).status.ok());
}

TEST(ServerTest, MetricsTellWhatHappenedWithoutNamingAnybody) {
  TestServer server(WithMetrics());
  server.CreateSession("secret-name");
  ASSERT_TRUE(
      Generate(server.inference(), PromptRequest("secret-name", std::string(50, 'x'), 7)).status.ok());
  EXPECT_FALSE(Generate(server.inference(), PromptRequest("nobody", "x", 1)).status.ok());
  v1::GenerateRequest formatted = PromptRequest("", "x", 1);
  formatted.set_ignore_eos(false);
  formatted.mutable_response_format()->set_grammar("root ::= \"a\"");
  EXPECT_TRUE(Generate(server.inference(), formatted).status.ok());
  formatted.set_ignore_eos(true);  // refused, so no turn
  formatted.mutable_response_format()->set_json_object(true);
  EXPECT_FALSE(Generate(server.inference(), formatted).status.ok());
  const std::string metrics = ScrapeWhenIdle(server.server().metrics_port());
  for (const char* series : {
           "memgate_requests_total{code=\"OK\",method=\"Generate\"} 2",
           "memgate_requests_total{code=\"NOT_FOUND\",method=\"Generate\"} 1",
           "memgate_requests_total{code=\"OK\",method=\"CreateSession\"} 1",
           "memgate_request_duration_seconds_count{code=\"OK\",method=\"Generate\"} 2",
           "memgate_formatted_turns_total{format=\"grammar\"} 1",
           "memgate_time_to_first_token_seconds_count 2",
           "memgate_inter_token_seconds_count 6",
           "memgate_queue_seconds_count 2",
           "memgate_prompt_tokens_total 51",
           "memgate_generated_tokens_total 8",
           "memgate_ingested_tokens_total 0",
           "memgate_route_decisions_total{path=\"gated\",reason=\"exceeds_exact_limit\"} 1",
           "memgate_sessions{kind=\"memgate\"} 1",
           "memgate_session_bytes{kind=\"memgate\"}",
           "memgate_memory_budget_bytes",
           "memgate_memory_reserved_bytes",
           "memgate_weight_bytes",
           "memgate_active_turns 0",
           "memgate_queued_turns 0",
           "memgate_steps_total",
           "memgate_memory_writes_total",
           "memgate_folded_tokens_total",
           "memgate_expired_sessions_total 0",
           "memgate_model_info{",
           "memgate_build_info{",
           "process_resident_memory_bytes",
           "process_cpu_seconds_total",
           "process_open_fds",
           "process_start_time_seconds",
       }) {
    EXPECT_THAT(metrics, HasSubstr(series));
  }
  EXPECT_THAT(metrics, Not(HasSubstr("secret-name")));
  EXPECT_THAT(metrics, Not(HasSubstr("format=\"json_object\"")));
  EXPECT_THAT(metrics, Not(HasSubstr("default\"")));
}

class ApiKeyServerTest : public testing::Test {
 protected:
  ApiKeyServerTest() : server_(MakeSetup()) {}
  TestServer::Setup MakeSetup() {
    TestServer::Setup setup;
    setup.options.api_keys =
        folder_.Write("keys", "plant-a key-of-plant-a-0001\nplant-b key-of-plant-b-0001\n");
    return setup;
  }
  grpc::Status Create(const std::string& id, const std::string& key) {
    grpc::ClientContext context;
    Bound(context);
    context.AddMetadata("authorization", "Bearer " + key);
    v1::CreateSessionRequest request;
    request.set_session_id(id);
    v1::Session session;
    return server_.sessions().CreateSession(&context, request, &session);
  }
  TempFolder folder_;
  TestServer server_;
};

TEST_F(ApiKeyServerTest, CallsWithoutAKnownKeyAreRefusedBeforeAnythingElse) {
  v1::GenerateRequest request = PromptRequest("nobody", "", 0);  // wrong in every way
  const grpc::Status missing = Generate(server_.inference(), request).status;
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ErrorInfoOf(missing).reason(), "CREDENTIALS_MISSING");
  const grpc::Status wrong = Generate(server_.inference(), request, "key-of-plant-c-0001").status;
  EXPECT_EQ(wrong.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ErrorInfoOf(wrong).reason(), "CREDENTIALS_INVALID");
  grpc::ClientContext context;
  Bound(context);
  const auto ingest = server_.inference().Ingest(&context);
  EXPECT_EQ(ingest->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(ApiKeyServerTest, SessionsOfAnotherTenantAreNotFound) {
  ASSERT_TRUE(Create("s", "key-of-plant-a-0001").ok());
  EXPECT_TRUE(Generate(server_.inference(), PromptRequest("s", "x", 1), "key-of-plant-a-0001").status.ok());
  const grpc::Status status =
      Generate(server_.inference(), PromptRequest("s", "x", 1), "key-of-plant-b-0001").status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(Create("s", "key-of-plant-b-0001").ok()) << "the other tenant's name is free";
}

TEST_F(ApiKeyServerTest, MemoryOfASessionIsItsTenantsAlone) {
  ASSERT_TRUE(Create("s", "key-of-plant-a-0001").ok());
  const auto memory = [&](const std::string& name, const std::string& key) {
    grpc::ClientContext context;
    Bound(context);
    if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
    v1::GetSessionMemoryRequest request;
    request.set_name(name);
    v1::SessionMemory response;
    return server_.sessions().GetSessionMemory(&context, request, &response).error_code();
  };
  EXPECT_EQ(memory("sessions/s", "key-of-plant-a-0001"), grpc::StatusCode::OK);
  EXPECT_EQ(memory("sessions/s", "key-of-plant-b-0001"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(memory("not even a name", ""), grpc::StatusCode::UNAUTHENTICATED) << "permission comes first";
}

TEST_F(ApiKeyServerTest, ReloadedKeysReplaceTheOldOnes) {
  folder_.Write("keys", "plant-a key-of-plant-a-0002\n");
  ASSERT_TRUE(server_.server().ReloadKeys().ok());
  EXPECT_EQ(Create("s", "key-of-plant-a-0001").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Create("s", "key-of-plant-a-0002").ok());
  folder_.Write("keys", "broken");
  EXPECT_FALSE(server_.server().ReloadKeys().ok());
  EXPECT_TRUE(Create("t", "key-of-plant-a-0002").ok()) << "a broken file changes nothing";
}

TEST_F(ApiKeyServerTest, HealthNeedsNoKey) { EXPECT_TRUE(Probe(Options(), server_.server().address()).ok()); }

TEST(DrainTest, CutsAnswersAtTheDeadlineAndRefusesNewOnes) {
  TestServer server(LongAnswersAllowed());
  server.CreateSession("s");
  LongAnswer running(server.inference(), "s");
  std::thread drain([&] { server.server().Drain(absl::ZeroDuration()); });
  const Generated result = running.Finish();
  drain.join();
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_TRUE(result.events.back().has_done());
  EXPECT_EQ(result.events.back().done().finish_reason(), v1::FINISH_REASON_CUT);
  EXPECT_EQ(Generate(server.inference(), PromptRequest("s", "x", 1)).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(Probe(Options(), server.server().address()).ok());
}

TEST(DrainTest, LetsAnswersFinishAndRefusesOthersMeanwhile) {
  TestServer server(LongAnswersAllowed());
  LongAnswer running(server.inference(), "");
  std::thread drain([&] { server.server().Drain(absl::Hours(1)); });
  // Refused either by the health-checked server that drains or, once it is closed, by the connection.
  grpc::Status refused;
  do {
    refused = Generate(server.inference(), PromptRequest("", "x", 1)).status;
  } while (refused.ok());
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ErrorInfoOf(refused).reason(), "DRAINING");
  EXPECT_GT(RetryInfoOf(refused).retry_delay().seconds(), 0);
  EXPECT_FALSE(Probe(Options(), server.server().address()).ok()) << "health turned NOT_SERVING";
  running.Cancel();
  running.Finish();
  drain.join();
}

TEST(ServerTest, TwoServersDoNotShareAPort) {
  TestServer first(WithMetrics());
  Log log(LogLevel::kError, LogFormat::kText);
  Options options;
  options.listen = first.server().address();
  options.metrics_listen = "off";
  const auto second = Server::Start(options, first.engine(), log);
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(options.listen));
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "127.0.0.1:" + std::to_string(first.server().metrics_port());
  EXPECT_THAT(std::string(Server::Start(options, first.engine(), log).status().message()),
              HasSubstr("--metrics-listen"));
}

TEST(ServerTest, ListensOnAUnixSocket) {
  const TempFolder folder;
  TestServer::Setup setup;
  setup.options.listen = "unix:" + folder.File("memgate.sock");
  TestServer server(setup);
  EXPECT_EQ(server.server().address(), setup.options.listen);
  EXPECT_TRUE(Generate(server.inference(), PromptRequest("", "x", 1)).status.ok());
  EXPECT_TRUE(Probe(setup.options, "").ok());
}

TEST(ServerTest, TwoServersDoNotShareAUnixSocket) {
  const TempFolder folder;
  TestServer::Setup setup;
  setup.options.listen = "unix:" + folder.File("memgate.sock");
  TestServer first(setup);
  Log log(LogLevel::kError, LogFormat::kText);
  setup.options.metrics_listen = "off";
  const auto second = Server::Start(setup.options, first.engine(), log);
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another server listens there"));
  EXPECT_TRUE(Probe(setup.options, "").ok()) << "the first one still has it";
}

TEST(ServerTest, ASocketThatADeadServerLeftIsTakenOver) {
  const TempFolder folder;
  const std::string path = folder.File("memgate.sock");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int left = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(left, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  close(left);
  TestServer::Setup setup;
  setup.options.listen = "unix:" + path;
  TestServer server(setup);
  EXPECT_TRUE(Probe(setup.options, "").ok());
}

TEST(ProbeTest, FailsWhereNobodyListens) {
  const TempFolder folder;
  EXPECT_TRUE(absl::IsUnavailable(Probe(Options(), "unix:" + folder.File("nobody.sock"))));
}

TEST(ProbeTest, NeedsAnAddressIfThePortIsTheSystemsChoice) {
  Options options;
  options.listen = "127.0.0.1:0";
  EXPECT_THAT(std::string(Probe(options, "").message()), HasSubstr("--probe="));
}

}  // namespace
}  // namespace memgate
