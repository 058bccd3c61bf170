#include "client/memgate_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/rpc_status.h"
#include "tests/client/fake_server.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ClientTest : public testing::Test {
 protected:
  std::unique_ptr<Client> Connect(ClientOptions options = {}) {
    options.address = server_.address();
    auto client = Client::Connect(options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  FakeServer server_;
};

v1::GenerateResponse Delta(const std::string& text) {
  v1::GenerateResponse response;
  response.mutable_delta()->set_text(text);
  return response;
}

// Hands out `chunks` one by one.
TextSource Chunks(std::vector<std::string> chunks) {
  return [chunks = std::move(chunks), next = size_t{0}](std::string* chunk) mutable -> absl::StatusOr<bool> {
    if (next == chunks.size()) return false;
    *chunk = chunks[next++];
    return true;
  };
}

TEST_F(ClientTest, GenerateHandsOutEventsInOrder) {
  v1::GenerateResponse route, done;
  route.mutable_route()->set_prompt_tokens(3);
  done.mutable_done()->set_finish_reason(v1::FINISH_REASON_STOP);
  server_.generated = {route, Delta("a"), Delta("b"), done};
  std::vector<std::string> events;
  v1::GenerateRequest request;
  request.set_prompt("hello");
  const absl::Status status =
      Connect()->Generate(request, {.on_route = [&](const auto&) { events.push_back("route"); },
                                    .on_delta = [&](const auto& delta) { events.push_back(delta.text()); },
                                    .on_done = [&](const auto&) { events.push_back("done"); }});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(events, ElementsAre("route", "a", "b", "done"));
  EXPECT_EQ(server_.generate_request.prompt(), "hello");
}

TEST_F(ClientTest, StringsThatAreNotUtf8AreNotSent) {
  v1::GenerateRequest request;
  request.set_prompt("ab\xFF");
  const absl::Status status = Connect()->Generate(request, {});
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(), "prompt is not UTF-8 (byte 2)");
  EXPECT_TRUE(absl::IsInvalidArgument(Connect()->GetSession("\xFF").status()));
}

TEST(ClientConnectTest, RefusesKeysThatCannotBeSent) {
  for (const char* key : {"line\n", "two words", "\xC3\xA4", "\x7F"}) {
    ClientOptions options;
    options.api_key = key;
    EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect(options).status())) << key;
  }
}

TEST_F(ClientTest, GenerateReturnsTheErrorAfterThePartThatCame) {
  server_.generated = {Delta("part")};
  server_.generate_status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  std::string text;
  const absl::Status status =
      Connect()->Generate({}, {.on_delta = [&](const auto& delta) { text += delta.text(); }});
  EXPECT_EQ(text, "part");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(ClientTest, CancelEndsARunningCall) {
  server_.generate_until_cancelled = true;
  Cancellation cancellation;
  const absl::Status status =
      Connect()->Generate({}, {.on_delta = [&](const auto&) { cancellation.Cancel(); }}, &cancellation);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(ClientTest, CancelBeforeTheCallEndsItAtOnce) {
  server_.generate_until_cancelled = true;
  Cancellation cancellation;
  cancellation.Cancel();
  EXPECT_EQ(Connect()->Generate({}, {}, &cancellation).code(), absl::StatusCode::kCancelled);
}

TEST_F(ClientTest, TimeoutBecomesTheDeadline) {
  server_.generate_until_cancelled = true;
  ClientOptions options;
  options.timeout = absl::Milliseconds(50);
  EXPECT_EQ(Connect(options)->Generate({}, {}).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, IngestSendsEveryChunkAndReportsProgress) {
  int64_t last_bytes = 0;
  const auto result = Connect()->Ingest("plant", Chunks({"ab", "", "cd", "e"}), [&](const auto& progress) {
    last_bytes = progress.ingested_bytes();
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->done());
  EXPECT_EQ(server_.ingested, "abcde");
  EXPECT_EQ(last_bytes, 5);
}

TEST_F(ClientTest, IngestAsksForScoresInItsFirstMessageOnly) {
  server_.ingest_result.set_scored_tokens(4);
  const auto scored = Connect()->Ingest("plant", Chunks({"ab"}), nullptr, nullptr, {.score = true});
  ASSERT_TRUE(scored.ok()) << scored.status();
  EXPECT_EQ(scored->scored_tokens(), 4);
  EXPECT_TRUE(server_.first_ingest_request.score());
  EXPECT_FALSE(server_.last_ingest_request.score());
  ASSERT_TRUE(Connect()->Ingest("plant", Chunks({"ab"}), nullptr).ok());
  EXPECT_FALSE(server_.first_ingest_request.score());
}

TEST_F(ClientTest, IngestEndsWhenTheServerDoesThoughTheSourceHasMore) {
  server_.ingest_messages_read = 2;
  server_.ingest_status = grpc::Status(grpc::StatusCode::ABORTED, "busy");
  const auto endless = [](std::string* chunk) -> absl::StatusOr<bool> {
    chunk->assign("x");
    return true;
  };
  EXPECT_EQ(Connect()->Ingest("plant", endless, nullptr).status().code(), absl::StatusCode::kAborted);
}

TEST_F(ClientTest, IngestEndsWhenTheServerDoesThoughTheSourceIsSilent) {
  server_.ingest_messages_read = 1;
  server_.ingest_status = grpc::Status(grpc::StatusCode::NOT_FOUND, "no such session");
  const auto silent = [](std::string* chunk) -> absl::StatusOr<bool> {
    chunk->clear();
    return true;
  };
  EXPECT_EQ(Connect()->Ingest("plant", silent, nullptr).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientTest, ErrorOfTheSourceIsTheErrorOfTheCall) {
  const auto broken = [](std::string*) -> absl::StatusOr<bool> { return absl::DataLossError("disk"); };
  EXPECT_EQ(Connect()->Ingest("plant", broken, nullptr).status(), absl::DataLossError("disk"));
  EXPECT_EQ(Connect()->ImportSession("plant", broken).status(), absl::DataLossError("disk"));
}

TEST_F(ClientTest, ListSessionsReadsAllPages) {
  for (const char* name : {"sessions/a", "sessions/b", "sessions/c", "sessions/d", "sessions/e"}) {
    server_.sessions.emplace_back().set_name(name);
  }
  const auto sessions = Connect()->ListSessions();
  ASSERT_TRUE(sessions.ok()) << sessions.status();
  ASSERT_EQ(sessions->size(), 5u);
  EXPECT_EQ(sessions->back().name(), "sessions/e");
}

TEST_F(ClientTest, ExportGivesThePartsInOrderAndStopsAtAnErrorOfTheSink) {
  server_.snapshot = "0123456789";
  std::string bytes;
  EXPECT_TRUE(Connect()
                  ->ExportSession("plant",
                                  [&](absl::string_view chunk) {
                                    bytes += std::string(chunk);
                                    return absl::OkStatus();
                                  })
                  .ok());
  EXPECT_EQ(bytes, "0123456789");
  int calls = 0;
  const absl::Status status = Connect()->ExportSession("plant", [&](absl::string_view) {
    ++calls;
    return absl::DataLossError("disk full");
  });
  EXPECT_EQ(status, absl::DataLossError("disk full"));
  EXPECT_EQ(calls, 1);
}

TEST_F(ClientTest, ImportNamesTheSessionAndCutsLargeChunks) {
  const std::string large(600 * 1024, 'x');
  const auto session = Connect()->ImportSession("sessions/copy", Chunks({large, "end"}));
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->name(), "sessions/copy");
  EXPECT_EQ(server_.imported_id, "copy");
  EXPECT_EQ(server_.imported, large + "end");
}

TEST_F(ClientTest, ApiKeyTravelsAsBearerToken) {
  ClientOptions options;
  options.api_key = "secret";
  EXPECT_TRUE(Connect(options)->ListModels().ok());
  EXPECT_EQ(server_.authorization, "Bearer secret");
  EXPECT_TRUE(Connect()->ListModels().ok());
  EXPECT_EQ(server_.authorization, "");
}

TEST_F(ClientTest, DeleteTakesNamesWithAndWithoutPrefix) {
  EXPECT_TRUE(Connect()->DeleteSession("a").ok());
  EXPECT_TRUE(Connect()->DeleteSession("sessions/b").ok());
  EXPECT_THAT(server_.deleted, ElementsAre("sessions/a", "sessions/b"));
}

TEST(ClientConnectTest, ApiKeyInTheClearToAnotherMachineNeedsConsent) {
  ClientOptions options;
  options.address = "192.0.2.1:50061";
  options.api_key = "secret";
  const absl::Status status = Client::Connect(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("secret")));
  options.allow_plaintext_key = true;
  EXPECT_TRUE(Client::Connect(options).ok());
  options.allow_plaintext_key = false;
  options.tls = true;
  EXPECT_TRUE(Client::Connect(options).ok());
}

TEST(ClientConnectTest, LoopbackAndUnixSocketsMayCarryTheKey) {
  ClientOptions options;
  options.api_key = "secret";
  for (const char* address : {"127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/memgate"}) {
    options.address = address;
    EXPECT_TRUE(Client::Connect(options).ok()) << address;
  }
  options.address = "localhost.example:1";
  EXPECT_FALSE(Client::Connect(options).ok());
  options.address = "127.example:1";
  EXPECT_FALSE(Client::Connect(options).ok());
}

TEST(ClientConnectTest, TlsFilesAreCheckedBeforeAnyCall) {
  ClientOptions options;
  options.ca_file = "/nonexistent/ca.pem";
  EXPECT_EQ(Client::Connect(options).status().code(), absl::StatusCode::kNotFound);
  options.ca_file.clear();
  options.cert_file = "/nonexistent/client.pem";
  EXPECT_EQ(Client::Connect(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SessionNameTest, PrefixComesAndGoes) {
  EXPECT_EQ(SessionName("plant"), "sessions/plant");
  EXPECT_EQ(SessionName("sessions/plant"), "sessions/plant");
  EXPECT_EQ(SessionName(""), "");
  EXPECT_EQ(SessionId("sessions/plant"), "plant");
  EXPECT_EQ(SessionId("plant"), "plant");
}

}  // namespace
}  // namespace memgate
