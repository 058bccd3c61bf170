#include "server/session_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/test_server.h"

namespace memgate {
namespace {

class SessionServiceTest : public testing::Test {
 protected:
  using Stub = v1::SessionService::Stub;

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    Bound(context);
    return (server_.sessions().*method)(&context, request, response);
  }
  grpc::Status Create(const v1::CreateSessionRequest& request, v1::Session* session) {
    return Call(&Stub::CreateSession, request, session);
  }
  grpc::Status Get(const std::string& id, v1::Session* session) {
    v1::GetSessionRequest request;
    request.set_name("sessions/" + id);
    return Call(&Stub::GetSession, request, session);
  }
  grpc::Status Memory(const std::string& id, bool positions, v1::SessionMemory* memory) {
    v1::GetSessionMemoryRequest request;
    request.set_name("sessions/" + id);
    request.set_retained_positions(positions);
    return Call(&Stub::GetSessionMemory, request, memory);
  }
  grpc::Status Delete(const std::string& id) {
    v1::DeleteSessionRequest request;
    request.set_name("sessions/" + id);
    google::protobuf::Empty empty;
    return Call(&Stub::DeleteSession, request, &empty);
  }
  grpc::Status Fork(const std::string& id, const std::string& copy, v1::Session* session) {
    v1::ForkSessionRequest request;
    request.set_name("sessions/" + id);
    request.set_session_id(copy);
    return Call(&Stub::ForkSession, request, session);
  }
  grpc::Status Export(const std::string& id, std::vector<std::string>* chunks) {
    grpc::ClientContext context;
    Bound(context);
    v1::ExportSessionRequest request;
    request.set_name("sessions/" + id);
    const auto reader = server_.sessions().ExportSession(&context, request);
    for (v1::ExportSessionResponse message; reader->Read(&message);) chunks->push_back(message.chunk());
    return reader->Finish();
  }
  grpc::Status Import(const std::string& id, const std::vector<std::string>& chunks, v1::Session* session) {
    grpc::ClientContext context;
    Bound(context);
    const auto writer = server_.sessions().ImportSession(&context, session);
    v1::ImportSessionRequest request;
    request.set_session_id(id);
    for (const std::string& chunk : chunks) {
      request.set_chunk(chunk);
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  std::vector<int32_t> Ask(const std::string& id) {
    const Generated result = Generate(server_.inference(), PromptRequest(id, "and then?", 12));
    EXPECT_TRUE(result.status.ok()) << result.status.error_message();
    return result.token_ids();
  }

  TestServer server_{LongAnswersAllowed()};
};

TEST_F(SessionServiceTest, CreateAnswersWithWhatTheSessionCosts) {
  v1::CreateSessionRequest request;
  request.set_session_id("pump-3");
  request.mutable_session()->mutable_ttl()->set_seconds(60);
  (*request.mutable_session()->mutable_labels())["line"] = "3";
  const int64_t before = server_.engine().Stats().reserved_bytes;
  v1::Session session;
  ASSERT_TRUE(Create(request, &session).ok());
  EXPECT_EQ(session.name(), "sessions/pump-3");
  EXPECT_EQ(session.model(), "models/tiny");
  EXPECT_EQ(session.memory_kind(), "memgate");
  EXPECT_EQ(session.shape().window_tokens(), 16);
  EXPECT_EQ(session.session_bytes(), server_.engine().Stats().reserved_bytes - before);
  EXPECT_EQ(session.labels().at("line"), "3");
  EXPECT_EQ(session.expire_time().seconds(), session.last_used_time().seconds() + 60);
  EXPECT_FALSE(session.busy());

  v1::Session read;
  ASSERT_TRUE(Get("pump-3", &read).ok());
  EXPECT_EQ(read.SerializeAsString(), session.SerializeAsString());
}

TEST_F(SessionServiceTest, CreateHonoursShapeKindAndByteLimit) {
  v1::CreateSessionRequest request;
  request.mutable_session()->set_memory_kind("window");
  request.mutable_session()->mutable_shape()->set_window_tokens(64);
  v1::Session window;
  ASSERT_TRUE(Create(request, &window).ok());
  EXPECT_EQ(window.memory_kind(), "window");
  EXPECT_EQ(window.shape().window_tokens(), 64);

  v1::CreateSessionRequest bounded;
  bounded.set_max_session_bytes(window.session_bytes() * 3);
  v1::Session session;
  ASSERT_TRUE(Create(bounded, &session).ok());
  EXPECT_LE(session.session_bytes(), window.session_bytes() * 3);
  EXPECT_GT(session.session_bytes(), window.session_bytes() * 2);
}

TEST_F(SessionServiceTest, CreateNamesTheBadField) {
  const auto field = [&](const v1::CreateSessionRequest& request) {
    v1::Session session;
    const grpc::Status status = Create(request, &session);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    const auto violations = BadRequestOf(status).field_violations();
    return violations.empty() ? status.error_message() : violations[0].field();
  };
  v1::CreateSessionRequest name, window, salient, bytes, kind;
  name.set_session_id("Bad");
  EXPECT_EQ(field(name), "session_id");
  window.mutable_session()->mutable_shape()->set_window_tokens(1 << 21);
  EXPECT_EQ(field(window), "session.shape.window_tokens");
  salient.mutable_session()->set_memory_kind("window");
  salient.mutable_session()->mutable_shape()->set_salient_tokens(8);
  EXPECT_EQ(field(salient), "session.shape.salient_tokens");
  bytes.set_max_session_bytes(1);
  EXPECT_EQ(field(bytes), "max_session_bytes");
  kind.mutable_session()->set_memory_kind("elephant");
  EXPECT_EQ(field(kind), "session.memory_kind");
}

TEST_F(SessionServiceTest, ATakenNameIsRefusedAndARequestIdReturnsTheFirst) {
  v1::CreateSessionRequest request;
  request.set_session_id("s");
  request.set_request_id("r");
  v1::Session first, second;
  ASSERT_TRUE(Create(request, &first).ok());
  ASSERT_TRUE(Create(request, &second).ok());
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
  request.clear_request_id();
  const grpc::Status status = Create(request, &second);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "SESSION_EXISTS");
}

TEST_F(SessionServiceTest, ListPagesThroughAllInNameOrder) {
  for (const char* id : {"d", "a", "c", "b", "e"}) server_.CreateSession(id);
  std::vector<std::string> names;
  v1::ListSessionsRequest request;
  request.set_page_size(2);
  int pages = 0;
  do {
    v1::ListSessionsResponse response;
    ASSERT_TRUE(Call(&Stub::ListSessions, request, &response).ok());
    for (const v1::Session& session : response.sessions()) names.push_back(session.name());
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_THAT(names,
              testing::ElementsAre("sessions/a", "sessions/b", "sessions/c", "sessions/d", "sessions/e"));
}

TEST_F(SessionServiceTest, UpdateChangesTtlAndLabels) {
  server_.CreateSession("s");
  v1::UpdateSessionRequest request;
  request.mutable_session()->set_name("sessions/s");
  request.mutable_session()->mutable_ttl();  // never
  (*request.mutable_session()->mutable_labels())["a"] = "b";
  request.mutable_update_mask()->add_paths("ttl");
  request.mutable_update_mask()->add_paths("labels");
  v1::Session session;
  ASSERT_TRUE(Call(&Stub::UpdateSession, request, &session).ok());
  EXPECT_FALSE(session.has_expire_time());
  EXPECT_EQ(session.labels().at("a"), "b");
}

TEST_F(SessionServiceTest, ExpiresWithItsTtl) {
  v1::CreateSessionRequest request;
  request.set_session_id("s");
  request.mutable_session()->mutable_ttl()->set_seconds(60);
  v1::Session session;
  ASSERT_TRUE(Create(request, &session).ok());
  server_.clock().Advance(absl::Seconds(59));
  EXPECT_TRUE(Get("s", &session).ok());
  server_.clock().Advance(absl::Seconds(1));
  EXPECT_EQ(Get("s", &session).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(SessionServiceTest, MemoryIsTheLayersOfTheSession) {
  server_.CreateSession("s");
  ASSERT_TRUE(Generate(server_.inference(), PromptRequest("s", std::string(90, 'x'), 5)).status.ok());
  v1::Session session;
  ASSERT_TRUE(Get("s", &session).ok());
  v1::SessionMemory memory;
  ASSERT_TRUE(Memory("s", false, &memory).ok());
  EXPECT_EQ(memory.name(), "sessions/s");
  EXPECT_EQ(memory.memory_kind(), session.memory_kind());
  EXPECT_EQ(memory.shape().SerializeAsString(), session.shape().SerializeAsString());
  EXPECT_EQ(memory.session_bytes(), session.session_bytes());
  EXPECT_EQ(memory.accounting().SerializeAsString(), session.accounting().SerializeAsString());
  EXPECT_EQ(memory.memory_writes(), session.memory_writes());
  ASSERT_EQ(memory.layers_size(), 2);
  for (const v1::LayerMemory& layer : memory.layers()) {
    ASSERT_EQ(layer.kv_heads_size(), 2);
    for (const v1::KvHeadMemory& head : layer.kv_heads()) {
      EXPECT_EQ(head.salient().used(), 6);
      EXPECT_LT(head.salient().oldest_position(), head.salient().newest_position());
      EXPECT_LE(head.salient().lowest_score(), head.salient().highest_score());
      EXPECT_TRUE(head.salient().positions().empty());
    }
  }
}

TEST_F(SessionServiceTest, MemoryListsPositionsIfAsked) {
  server_.CreateSession("s");
  v1::SessionMemory memory;
  ASSERT_TRUE(Memory("s", true, &memory).ok());
  EXPECT_EQ(memory.layers(0).kv_heads(0).salient().used(), 0);
  EXPECT_FALSE(memory.layers(0).kv_heads(0).salient().has_oldest_position());
  ASSERT_TRUE(Generate(server_.inference(), PromptRequest("s", std::string(90, 'x'), 5)).status.ok());
  ASSERT_TRUE(Memory("s", true, &memory).ok());
  for (const v1::LayerMemory& layer : memory.layers()) {
    for (const v1::KvHeadMemory& head : layer.kv_heads()) {
      const auto& positions = head.salient().positions();
      ASSERT_EQ(positions.size(), 6);
      EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
      EXPECT_EQ(positions[0], head.salient().oldest_position());
      EXPECT_EQ(positions[5], head.salient().newest_position());
    }
  }
}

TEST_F(SessionServiceTest, TooManyPositionsAreNotListed) {
  v1::CreateSessionRequest request;
  request.set_session_id("wide");
  request.mutable_session()->mutable_shape()->set_salient_tokens(1 << 16);
  v1::Session session;
  ASSERT_TRUE(Create(request, &session).ok());
  v1::SessionMemory memory;
  EXPECT_TRUE(Memory("wide", false, &memory).ok());
  const grpc::Status status = Memory("wide", true, &memory);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  EXPECT_EQ(BadRequestOf(status).field_violations(0).field(), "retained_positions");
}

TEST_F(SessionServiceTest, MemoryOfABusyOrUnknownSessionIsRefused) {
  v1::SessionMemory memory;
  EXPECT_EQ(Memory("nobody", false, &memory).error_code(), grpc::StatusCode::NOT_FOUND);
  server_.CreateSession("s");
  LongAnswer answer(server_.inference(), "s");
  const grpc::Status status = Memory("s", false, &memory);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "SESSION_BUSY");
  answer.Cancel();
  answer.Finish();
}

TEST_F(SessionServiceTest, LookingAtMemoryIsNoUse) {
  const v1::Session created = server_.CreateSession("s");
  server_.clock().Advance(absl::Seconds(30));
  v1::SessionMemory memory;
  ASSERT_TRUE(Memory("s", true, &memory).ok());
  v1::Session session;
  ASSERT_TRUE(Get("s", &session).ok());
  EXPECT_EQ(session.last_used_time().seconds(), created.last_used_time().seconds());
  EXPECT_FALSE(session.busy()) << "the lease is given back";
}

TEST_F(SessionServiceTest, SlotsCanBeTurnedOff) {
  v1::CreateSessionRequest request;
  request.set_session_id("bare");
  request.mutable_session()->mutable_shape()->set_salient_tokens(0);
  v1::Session session;
  ASSERT_TRUE(Create(request, &session).ok());
  EXPECT_EQ(session.memory_kind(), "memgate");
  EXPECT_EQ(session.shape().salient_tokens(), 0);
  v1::SessionMemory memory;
  ASSERT_TRUE(Memory("bare", true, &memory).ok());
  EXPECT_FALSE(memory.layers(0).kv_heads(0).has_salient());
}

TEST_F(SessionServiceTest, DeleteFreesItsBytes) {
  const int64_t before = server_.engine().Stats().reserved_bytes;
  server_.CreateSession("s");
  ASSERT_TRUE(Delete("s").ok());
  EXPECT_EQ(server_.engine().Stats().reserved_bytes, before);
  EXPECT_EQ(Delete("s").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(SessionServiceTest, AForkGoesOnAsTheOriginalWould) {
  server_.CreateSession("s");
  ASSERT_TRUE(Generate(server_.inference(), PromptRequest("s", std::string(100, 'q'), 5)).status.ok());
  v1::Session copy;
  ASSERT_TRUE(Fork("s", "copy", &copy).ok());
  EXPECT_EQ(copy.name(), "sessions/copy");
  EXPECT_EQ(copy.accounting().total_tokens(), 105);
  EXPECT_EQ(Ask("s"), Ask("copy"));
  EXPECT_EQ(Fork("s", "copy", &copy).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Fork("nobody", "x", &copy).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(SessionServiceTest, ResetEmptiesASessionAndKeepsItsBytes) {
  const v1::Session fresh = server_.CreateSession("s");
  ASSERT_TRUE(Generate(server_.inference(), PromptRequest("s", std::string(100, 'q'), 5)).status.ok());
  v1::ResetSessionRequest request;
  request.set_name("sessions/s");
  v1::Session session;
  ASSERT_TRUE(Call(&Stub::ResetSession, request, &session).ok());
  EXPECT_EQ(session.accounting().total_tokens(), 0);
  EXPECT_EQ(session.session_bytes(), fresh.session_bytes());
}

TEST_F(SessionServiceTest, AnImportedSnapshotGoesOnAsTheOriginalWould) {
  server_.CreateSession("s");
  ASSERT_TRUE(Generate(server_.inference(), PromptRequest("s", std::string(300, 'q'), 5)).status.ok());
  std::vector<std::string> chunks;
  ASSERT_TRUE(Export("s", &chunks).ok());
  for (const std::string& chunk : chunks) EXPECT_LE(chunk.size(), 256u << 10);
  std::string snapshot;
  for (const std::string& chunk : chunks) snapshot += chunk;
  std::vector<std::string> pieces;
  for (size_t at = 0; at < snapshot.size(); at += 1000) pieces.push_back(snapshot.substr(at, 1000));

  v1::Session imported;
  const grpc::Status status = Import("moved", pieces, &imported);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(imported.name(), "sessions/moved");
  EXPECT_EQ(imported.accounting().total_tokens(), 305);
  EXPECT_EQ(Ask("s"), Ask("moved"));
}

TEST_F(SessionServiceTest, AChatGoesOnInAnImportedSessionAndInAFork) {
  const auto ask = [&](const std::string& id, const std::string& content) {
    v1::GenerateRequest request = PromptRequest(id, "", 2000);
    v1::ChatMessage* message = request.mutable_chat()->add_messages();
    message->set_role("user");
    message->set_content(content);
    (*request.mutable_sampling()->mutable_logit_bias())['a'] = 100;
    const Generated turn = Generate(server_.inference(), request);
    EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
    return turn.status.ok() ? turn.events.front().route() : v1::RouteInfo();
  };
  server_.CreateSession("s");
  EXPECT_EQ(ask("s", "one").chat_prefix(), v1::CHAT_PREFIX_UNSPECIFIED);
  std::vector<std::string> chunks;
  ASSERT_TRUE(Export("s", &chunks).ok());
  v1::Session session;
  const grpc::Status status = Import("moved", chunks, &session);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_TRUE(Fork("s", "forked", &session).ok());
  for (const char* id : {"s", "moved", "forked"}) {
    const v1::RouteInfo route = ask(id, "two");
    EXPECT_EQ(route.chat_prefix(), v1::CHAT_PREFIX_CONTINUES) << id;
    EXPECT_EQ(route.prompt_tokens(), 7) << id;
  }
}

TEST_F(SessionServiceTest, BadSnapshotsAreRefusedAndLeaveNothing) {
  server_.CreateSession("s");
  std::vector<std::string> chunks;
  ASSERT_TRUE(Export("s", &chunks).ok());
  std::string damaged = chunks[0];
  damaged[damaged.size() / 2] ^= 1;
  const int64_t before = server_.engine().Stats().reserved_bytes;
  v1::Session session;
  for (const std::string& bytes : {std::string("no snapshot"), damaged, chunks[0].substr(0, 20)}) {
    const grpc::Status status = Import("bad", {bytes}, &session);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_EQ(ErrorInfoOf(status).reason(), "SNAPSHOT_INVALID");
  }
  EXPECT_EQ(Import("bad", {}, &session).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Get("bad", &session).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(server_.engine().Stats().reserved_bytes, before);
}

TEST_F(SessionServiceTest, ACancelledImportCreatesNoSession) {
  server_.CreateSession("s");
  std::vector<std::string> chunks;
  ASSERT_TRUE(Export("s", &chunks).ok());
  for (int i = 0; i < 50; ++i) {  // the cancellation races with the end of the stream
    grpc::ClientContext context;
    Bound(context);
    v1::Session session;
    const auto writer = server_.sessions().ImportSession(&context, &session);
    v1::ImportSessionRequest request;
    for (const std::string& chunk : chunks) {
      request.set_chunk(chunk);
      ASSERT_TRUE(writer->Write(request));
    }
    ASSERT_TRUE(Get("s", &session).ok());  // behind the chunks on the same connection
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  server_.server().Drain(absl::Seconds(30));  // until every call has ended
  EXPECT_EQ(server_.server().sessions().size(), 1);
}

TEST_F(SessionServiceTest, SnapshotsOfAnotherModelAreRefused) {
  server_.CreateSession("s");
  std::vector<std::string> chunks;
  ASSERT_TRUE(Export("s", &chunks).ok());
  TestServer::Setup setup;
  setup.model.seed = 99;
  TestServer other(setup);
  grpc::ClientContext context;
  Bound(context);
  v1::Session session;
  const auto writer = other.sessions().ImportSession(&context, &session);
  v1::ImportSessionRequest request;
  request.set_chunk(chunks[0]);
  for (const std::string& chunk : chunks) {
    request.set_chunk(chunk);
    writer->Write(request);
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "SNAPSHOT_MISMATCH");
}

TEST(SessionBudgetTest, ASpentBudgetRefusesSessionsAndReturnsWithThem) {
  int64_t session_bytes = 0, reserved = 0;
  {
    TestServer probe;
    session_bytes = probe.engine().PlanSession({})->bytes;
    reserved = probe.engine().Stats().reserved_bytes;
  }
  TestServer::Setup setup;
  setup.engine.memory_budget_bytes = reserved + 2 * session_bytes + session_bytes / 2;
  TestServer server(setup);
  server.CreateSession("s1");
  server.CreateSession("s2");
  const auto create = [&] {
    grpc::ClientContext context;
    Bound(context);
    v1::CreateSessionRequest request;
    request.set_session_id("s3");
    v1::Session session;
    return server.sessions().CreateSession(&context, request, &session);
  };
  const grpc::Status status = create();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "MEMORY_BUDGET");
  EXPECT_GT(RetryInfoOf(status).retry_delay().seconds(), 0);
  ASSERT_TRUE(server.server().sessions().Delete("default", "s1").ok());
  EXPECT_TRUE(create().ok());
}

TEST(KvFormatServiceTest, ModelSessionAndMemoryNameTheFormat) {
  TestServer::Setup setup;
  setup.engine.kv = KvFormat::kInt8;
  TestServer server(setup);
  grpc::ClientContext list_context, memory_context;
  Bound(list_context);
  Bound(memory_context);
  v1::ListModelsResponse list;
  ASSERT_TRUE(server.models().ListModels(&list_context, {}, &list).ok());
  EXPECT_EQ(list.models(0).kv_format(), "int8");
  EXPECT_EQ(server.CreateSession("s").kv_format(), "int8");
  v1::GetSessionMemoryRequest request;
  request.set_name("sessions/s");
  v1::SessionMemory memory;
  ASSERT_TRUE(server.sessions().GetSessionMemory(&memory_context, request, &memory).ok());
  EXPECT_EQ(memory.kv_format(), "int8");
}

TEST(ModelServiceTest, DescribesTheModelAndWhatASessionCosts) {
  TestServer server;
  grpc::ClientContext list_context;
  Bound(list_context);
  v1::ListModelsResponse list;
  ASSERT_TRUE(server.models().ListModels(&list_context, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 1);
  const v1::Model& model = list.models(0);
  EXPECT_EQ(model.name(), "models/tiny");
  EXPECT_EQ(model.layers(), 2);
  EXPECT_EQ(model.vocabulary_size(), kTinyVocabSize);
  EXPECT_EQ(model.default_memory_kind(), "memgate");
  EXPECT_EQ(model.fingerprint(), server.engine().model().fingerprint);
  EXPECT_FALSE(model.fingerprint().empty());
  bool found = false;
  for (const v1::MemoryKindInfo& kind : model.memory_kinds()) {
    if (kind.kind() != "memgate") continue;
    found = true;
    EXPECT_TRUE(kind.trained());
    EXPECT_EQ(kind.default_session_bytes(), server.engine().PlanSession({})->bytes);
  }
  EXPECT_TRUE(found);

  grpc::ClientContext get_context;
  Bound(get_context);
  v1::GetModelRequest get;
  get.set_name("models/other");
  v1::Model other;
  const grpc::Status status = server.models().GetModel(&get_context, get, &other);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "MODEL_NOT_FOUND");
}

}  // namespace
}  // namespace memgate
