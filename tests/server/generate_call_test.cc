#include "server/generate_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "tests/server/test_server.h"

namespace memgate {
namespace {

using Messages = std::vector<std::pair<std::string, std::string>>;  // role, content

v1::Session Get(TestServer& server, const std::string& id) {
  grpc::ClientContext context;
  Bound(context);
  v1::GetSessionRequest request;
  request.set_name("sessions/" + id);
  v1::Session session;
  const grpc::Status status = server.sessions().GetSession(&context, request, &session);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return session;
}

TEST(GenerateTest, StreamsRouteThenDeltasThenDone) {
  TestServer server;
  const Generated result = Generate(server.inference(), PromptRequest("", "hello", 5));
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_GE(result.events.size(), 3u);
  EXPECT_TRUE(result.events.front().has_route());
  for (size_t i = 1; i + 1 < result.events.size(); ++i) EXPECT_TRUE(result.events[i].has_delta());
  ASSERT_TRUE(result.events.back().has_done());

  const v1::RouteInfo& route = result.events.front().route();
  EXPECT_EQ(route.path(), v1::PATH_EXACT);
  EXPECT_EQ(route.reason(), v1::ROUTE_REASON_FITS);
  EXPECT_EQ(route.prompt_tokens(), 5);
  EXPECT_EQ(route.accounting().total_tokens(), 5);
  EXPECT_GT(route.session_bytes(), 0);
  const v1::GenerateDone& done = result.events.back().done();
  EXPECT_EQ(done.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(done.usage().prompt_tokens(), 5);
  EXPECT_EQ(done.usage().completion_tokens(), 5);
  EXPECT_EQ(result.token_ids().size(), 5u);
}

TEST(GenerateTest, EqualRequestsGetEqualAnswers) {
  TestServer server;
  v1::GenerateRequest request = PromptRequest("", "hello", 20);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(7);
  EXPECT_EQ(Generate(server.inference(), request).token_ids(),
            Generate(server.inference(), request).token_ids());
}

// Makes an answer of nothing but `token`.
void Answer(v1::GenerateRequest& request, int32_t token) {
  auto& bias = *request.mutable_sampling()->mutable_logit_bias();
  bias.clear();
  bias[token] = 100;
}

// Its answer is "aaaa".
v1::GenerateRequest ChatRequest(const std::string& session, const std::string& content) {
  v1::GenerateRequest request = PromptRequest(session, "", 4);
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content(content);
  Answer(request, 'a');
  return request;
}

TEST(GenerateTest, ChatsInSessionsSayWhetherTheyContinue) {
  TestServer server;
  server.CreateSession("chat");
  Generated turn = Generate(server.inference(), ChatRequest("chat", "one"));
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_UNSPECIFIED);
  EXPECT_EQ(turn.events.front().route().prompt_tokens(), 6);  // <|user|>, 3 bytes, <|end|>, <|assistant|>
  turn = Generate(server.inference(), ChatRequest("chat", "two"));
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(turn.events.front().route().prompt_tokens(), 7);  // and the <|end|> of the answer that was cut
  ASSERT_TRUE(Generate(server.inference(), PromptRequest("chat", "no chat", 4)).status.ok());
  turn = Generate(server.inference(), ChatRequest("chat", "three"));
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_UNCHECKED);
}

TEST(GenerateTest, AnAnswerThatGoesOnWithoutInputIsOneAnswer) {
  TestServer server;
  server.CreateSession("chat");
  ASSERT_TRUE(Generate(server.inference(), ChatRequest("chat", "one")).status.ok());
  v1::GenerateRequest more = ChatRequest("chat", "");
  more.clear_input();
  ASSERT_TRUE(Generate(server.inference(), more).status.ok());
  const Generated turn = Generate(server.inference(), ChatRequest("chat", "two"));
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(turn.events.front().route().prompt_tokens(), 7);
}

TEST(GenerateTest, AnswersOfAnyLengthAreChecked) {
  TestServer server;
  server.CreateSession("chat");
  v1::GenerateRequest request = ChatRequest("chat", "one");
  request.set_max_tokens(4096);
  ASSERT_TRUE(Generate(server.inference(), request).status.ok());
  const Generated turn = Generate(server.inference(), ChatRequest("chat", "two"));
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_CONTINUES);
}

// Its answer is "a" and the end token of the model.
v1::GenerateRequest EndedChatRequest(const std::string& session, const Messages& messages) {
  v1::GenerateRequest request = ChatRequest(session, "");
  request.mutable_chat()->clear_messages();
  for (const auto& [role, content] : messages) {
    v1::ChatMessage* message = request.mutable_chat()->add_messages();
    message->set_role(role);
    message->set_content(content);
  }
  Answer(request, kTinyEndOfText);  // as soon as the grammar lets it
  request.set_ignore_eos(false);
  request.mutable_response_format()->set_grammar("root ::= \"a\"");
  return request;
}

// The template's end of a turn is not the token that ends the model's answers.
TEST(GenerateTest, AChatInASessionGoesOnAsTheWholeConversationWould) {
  TestServer server;
  server.CreateSession("chat");
  ASSERT_EQ(Generate(server.inference(), EndedChatRequest("chat", {{"user", "one"}})).text(), "a");
  Generated turn = Generate(server.inference(), EndedChatRequest("chat", {{"user", "two"}}));
  ASSERT_EQ(turn.text(), "a") << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_CONTINUES);

  v1::GenerateRequest last = EndedChatRequest("chat", {{"user", "go"}});
  v1::GenerateRequest whole = EndedChatRequest(
      "", {{"user", "one"}, {"assistant", "a"}, {"user", "two"}, {"assistant", "a"}, {"user", "go"}});
  for (v1::GenerateRequest* request : {&last, &whole}) {
    request->clear_response_format();
    request->mutable_sampling()->clear_logit_bias();
    request->set_max_tokens(3);
    request->set_ignore_eos(true);
  }
  turn = Generate(server.inference(), last);
  const Generated alone = Generate(server.inference(), whole);
  ASSERT_TRUE(turn.status.ok() && alone.status.ok()) << turn.status.error_message();
  const v1::TokenAccounting& held = turn.events.front().route().accounting();
  EXPECT_EQ(held.total_tokens(), alone.events.front().route().prompt_tokens());
  EXPECT_EQ(held.exact_tokens(), held.total_tokens()) << "so that the two are comparable";
  EXPECT_EQ(turn.token_ids(), alone.token_ids());
}

// Special tokens and halves of characters are held by the session, but the client cannot send them back.
TEST(GenerateTest, AnswersThatAreNotTheirTextLeaveThePrefixUnchecked) {
  constexpr int32_t kHalfACharacter = 0xC3;
  for (const int32_t token : {kTinyUser, kHalfACharacter}) {
    TestServer server;
    server.CreateSession("chat");
    v1::GenerateRequest request = ChatRequest("chat", "one");
    Answer(request, token);
    const Generated first = Generate(server.inference(), request);
    ASSERT_TRUE(first.status.ok()) << first.status.error_message();
    EXPECT_EQ(Get(server, "chat").accounting().total_tokens(), 6 + 4);
    const Generated turn = Generate(server.inference(), ChatRequest("chat", "two"));
    ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
    EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_UNCHECKED) << token;
    EXPECT_EQ(turn.events.front().route().prompt_tokens(), 7);
  }
}

// The template drops what the answer says.
TEST(GenerateTest, ChangedPrefixesAreReportedRefusedOrRebuilt) {
  TestServer::Setup setup;
  setup.chat_template =
      "{% for m in messages %}{{ '<|' + m.role + '|>' + (m.content if m.role == 'user' else '') + '<|end|>' "
      "}}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
  TestServer server(setup);
  server.CreateSession("chat");
  ASSERT_TRUE(Generate(server.inference(), ChatRequest("chat", "one")).status.ok());
  const int64_t held = Get(server, "chat").accounting().total_tokens();

  v1::GenerateRequest request = ChatRequest("chat", "two");
  request.mutable_chat()->set_on_changed_prefix(v1::ON_CHANGED_PREFIX_REFUSE);
  Generated turn = Generate(server.inference(), request);
  EXPECT_EQ(turn.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ErrorInfoOf(turn.status).reason(), "PREFIX_CHANGED");
  EXPECT_EQ(Get(server, "chat").accounting().total_tokens(), held);

  request.mutable_chat()->set_on_changed_prefix(v1::ON_CHANGED_PREFIX_REBUILD);
  *request.mutable_chat()->add_earlier() = ChatRequest("", "one").chat().messages(0);
  request.mutable_chat()->add_earlier()->set_role("assistant");
  v1::GenerateRequest impossible = request;
  impossible.set_path_preference(v1::PATH_PREFERENCE_EXACT);
  impossible.set_max_tokens(4000);
  turn = Generate(server.inference(), impossible);
  EXPECT_EQ(ErrorInfoOf(turn.status).reason(), "EXACT_IMPOSSIBLE");
  EXPECT_EQ(Get(server, "chat").accounting().total_tokens(), held) << "what is refused empties no session";
  turn = Generate(server.inference(), request);
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_REBUILT);
  EXPECT_EQ(turn.events.front().route().prompt_tokens(), 13);  // 5 + 2 + 6
  EXPECT_EQ(Get(server, "chat").accounting().total_tokens(), 17);

  turn = Generate(server.inference(), ChatRequest("chat", "three"));
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_CHANGED);
}

TEST(GenerateTest, UncheckedPrefixesAreReportedRefusedOrRebuilt) {
  TestServer server;
  server.CreateSession("chat");
  v1::GenerateRequest stopped = ChatRequest("chat", "one");
  stopped.add_stop("aa");
  ASSERT_TRUE(Generate(server.inference(), stopped).status.ok());
  const int64_t held = Get(server, "chat").accounting().total_tokens();

  v1::GenerateRequest request = ChatRequest("chat", "two");
  request.mutable_chat()->set_on_changed_prefix(v1::ON_CHANGED_PREFIX_REFUSE);
  Generated turn = Generate(server.inference(), request);
  EXPECT_EQ(turn.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ErrorInfoOf(turn.status).reason(), "PREFIX_UNCHECKED");
  EXPECT_EQ(Get(server, "chat").accounting().total_tokens(), held);

  request.mutable_chat()->set_on_changed_prefix(v1::ON_CHANGED_PREFIX_REBUILD);
  *request.mutable_chat()->add_earlier() = ChatRequest("", "one").chat().messages(0);
  request.mutable_chat()->add_earlier()->set_role("assistant");
  turn = Generate(server.inference(), request);
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_REBUILT);
  EXPECT_EQ(turn.events.front().route().prompt_tokens(), 13);  // 5 + 2 + 6
  request = ChatRequest("chat", "three");
  request.mutable_chat()->set_on_changed_prefix(v1::ON_CHANGED_PREFIX_REFUSE);
  turn = Generate(server.inference(), request);
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.events.front().route().chat_prefix(), v1::CHAT_PREFIX_CONTINUES);
}

// Whoever asks about a text that was ingested may choose REFUSE from the first question on.
TEST(GenerateTest, AChatThatBeginsBehindOtherTextIsNotRefused) {
  TestServer server;
  server.CreateSession("chat");
  ASSERT_TRUE(Generate(server.inference(), PromptRequest("chat", "text", 1)).status.ok());
  for (const v1::ChatPrefix prefix : {v1::CHAT_PREFIX_UNSPECIFIED, v1::CHAT_PREFIX_CONTINUES}) {
    v1::GenerateRequest request = ChatRequest("chat", "one");
    request.mutable_chat()->set_on_changed_prefix(v1::ON_CHANGED_PREFIX_REFUSE);
    const Generated turn = Generate(server.inference(), request);
    ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
    EXPECT_EQ(turn.events.front().route().chat_prefix(), prefix);
  }
}

v1::GenerateRequest FormattedRequest(const std::string& schema, uint64_t seed) {
  v1::GenerateRequest request = PromptRequest("", "hello", 300);
  request.set_ignore_eos(false);
  request.mutable_response_format()->set_json_schema(schema);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(seed);
  return request;
}

TEST(GenerateTest, AnswersHaveTheFormThatWasAskedFor) {
  TestServer server;
  const std::string schema =
      R"({"type": "array", "items": {"enum": ["on", "off"]}, "minItems": 2, "maxItems": 4})";
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Generated result = Generate(server.inference(), FormattedRequest(schema, seed));
    ASSERT_TRUE(result.status.ok()) << result.status.error_message();
    EXPECT_EQ(result.events.back().done().finish_reason(), v1::FINISH_REASON_STOP);
    EXPECT_THAT(result.text(),
                testing::MatchesRegex("[ \n\t]*\\[[ \n\t]*\"(on|off)\"(,[ \n\t]*\"(on|off)\")+[ \n\t]*\\]"));
  }
}

TEST(GenerateTest, FormattedAnswersAreReplayed) {
  TestServer server;
  v1::GenerateRequest request = FormattedRequest(R"({"type": "string", "minLength": 8, "maxLength": 8})", 3);
  request.set_request_id("again");
  const Generated first = Generate(server.inference(), request);
  ASSERT_TRUE(first.status.ok()) << first.status.error_message();
  EXPECT_EQ(Generate(server.inference(), request).text(), first.text());
}

TEST(GenerateTest, WrongFormatsAreRefusedByField) {
  TestServer server;
  v1::GenerateRequest request = FormattedRequest(R"({"properties": {"a": {"not": {}}}})", 1);
  Generated result = Generate(server.inference(), request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(BadRequestOf(result.status).field_violations(0).field(), "response_format.json_schema");
  EXPECT_THAT(result.status.error_message(), testing::HasSubstr("/properties/a/not: "));

  request.mutable_response_format()->set_grammar("root ::= missing");
  result = Generate(server.inference(), request);
  EXPECT_EQ(BadRequestOf(result.status).field_violations(0).field(), "response_format.grammar");

  request.mutable_response_format()->set_json_object(true);
  request.set_ignore_eos(true);
  result = Generate(server.inference(), request);
  EXPECT_EQ(BadRequestOf(result.status).field_violations(0).field(), "ignore_eos");
}

TEST(GenerateTest, ReturnsLogprobsOnlyIfAsked) {
  TestServer server;
  v1::GenerateRequest request = PromptRequest("", "hello", 3);
  for (const auto& event : Generate(server.inference(), request).events)
    EXPECT_EQ(event.delta().logprobs_size(), 0);
  request.set_logprobs(2);
  int seen = 0;
  for (const auto& event : Generate(server.inference(), request).events) {
    for (const v1::TokenLogprobs& logprobs : event.delta().logprobs()) {
      ++seen;
      ASSERT_EQ(logprobs.top_size(), 2);
      EXPECT_LE(logprobs.chosen().logprob(), 0);
      EXPECT_EQ(logprobs.top(0).token_id(), logprobs.chosen().token_id()) << "greedy picks the likeliest";
    }
  }
  EXPECT_EQ(seen, 3);
}

TEST(GenerateTest, ASessionRemembersItsTurns) {
  TestServer server;
  server.CreateSession("s");
  ASSERT_TRUE(Generate(server.inference(), PromptRequest("s", "first", 4)).status.ok());
  const Generated second = Generate(server.inference(), PromptRequest("s", "second", 4));
  ASSERT_TRUE(second.status.ok()) << second.status.error_message();
  EXPECT_EQ(second.events.front().route().prompt_tokens(), 6);
  EXPECT_EQ(second.events.front().route().accounting().total_tokens(), 5 + 4 + 6);
  EXPECT_EQ(Get(server, "s").turns(), 2);
  v1::GenerateRequest go_on = PromptRequest("s", "", 4);
  go_on.clear_input();
  EXPECT_TRUE(Generate(server.inference(), go_on).status.ok())
      << "a session that holds tokens needs no input";
}

TEST(GenerateTest, LongPromptsTakeTheGatedPathAndSayWhy) {
  TestServer server;
  server.CreateSession("s");
  const Generated result = Generate(server.inference(), PromptRequest("s", std::string(200, 'x'), 4));
  ASSERT_TRUE(result.status.ok());
  EXPECT_EQ(result.events.front().route().path(), v1::PATH_GATED);
  EXPECT_EQ(result.events.front().route().reason(), v1::ROUTE_REASON_EXCEEDS_EXACT_LIMIT);
  EXPECT_GT(result.events.back().done().usage().folded_tokens(), 0);

  v1::GenerateRequest exact = PromptRequest("s", "x", 1);
  exact.set_path_preference(v1::PATH_PREFERENCE_EXACT);
  const Generated refused = Generate(server.inference(), exact);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ErrorInfoOf(refused.status).reason(), "EXACT_IMPOSSIBLE");
}

TEST(GenerateTest, ChatsUseTheModelsTemplate) {
  TestServer server;
  v1::GenerateRequest request = PromptRequest("", "", 2);
  auto* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("hi");
  const Generated result = Generate(server.inference(), request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_GT(result.events.front().route().prompt_tokens(), 2);
}

TEST(GenerateTest, AModelWithoutTemplateRefusesChats) {
  TestServer::Setup setup;
  setup.model.chat_template = false;
  TestServer server(setup);
  v1::GenerateRequest request;
  request.mutable_chat()->add_messages()->set_role("user");
  const grpc::Status status = Generate(server.inference(), request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "NO_CHAT_TEMPLATE");
}

TEST(GenerateTest, BadInputIsRefusedWithItsField) {
  TestServer server;
  v1::GenerateRequest request = PromptRequest("", "x", 1);
  request.mutable_sampling()->set_top_p(2);
  const grpc::Status status = Generate(server.inference(), request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_EQ(BadRequestOf(status).field_violations_size(), 1);
  EXPECT_EQ(BadRequestOf(status).field_violations(0).field(), "sampling.top_p");

  v1::GenerateRequest bad_name = PromptRequest("", "x", 1);
  bad_name.set_session("sessions/Bad Name");
  EXPECT_EQ(BadRequestOf(Generate(server.inference(), bad_name).status).field_violations(0).field(),
            "session");
  EXPECT_EQ(Generate(server.inference(), PromptRequest("", "", 1)).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(GenerateTest, AnUnknownSessionIsNotFound) {
  TestServer server;
  const grpc::Status status = Generate(server.inference(), PromptRequest("nobody", "x", 1)).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "SESSION_NOT_FOUND");
}

TEST(GenerateTest, AnOversizedMessageIsRefused) {
  TestServer::Setup setup;
  setup.options.max_message_bytes = 2048;
  TestServer server(setup);
  EXPECT_EQ(Generate(server.inference(), PromptRequest("", std::string(4096, 'x'), 1)).status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Generate(server.inference(), PromptRequest("", std::string(1024, 'x'), 1)).status.ok());
}

TEST(GenerateTest, ASecondTurnOnABusySessionIsAborted) {
  TestServer server(LongAnswersAllowed());
  server.CreateSession("s");
  LongAnswer running(server.inference(), "s");
  EXPECT_TRUE(Get(server, "s").busy());
  const grpc::Status status = Generate(server.inference(), PromptRequest("s", "x", 1)).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "SESSION_BUSY");
  running.Cancel();
  EXPECT_EQ(running.Finish().status.error_code(), grpc::StatusCode::CANCELLED);
}

// Waits until the engine holds no turn any more: a cancelled client does not hear when the server is done.
void AwaitIdle(TestServer& server) {
  while (server.engine().Stats().active_turns + server.engine().Stats().queued_turns > 0)
    std::this_thread::yield();
}

TEST(GenerateTest, CancellingFreesTheSessionAndKeepsWhatItTookIn) {
  TestServer server(LongAnswersAllowed());
  server.CreateSession("s");
  LongAnswer running(server.inference(), "s");
  running.Cancel();
  EXPECT_EQ(running.Finish().status.error_code(), grpc::StatusCode::CANCELLED);
  AwaitIdle(server);
  const v1::Session session = Get(server, "s");
  EXPECT_FALSE(session.busy());
  EXPECT_GT(session.accounting().total_tokens(), 18) << "prompt and at least one token";
  EXPECT_TRUE(Generate(server.inference(), PromptRequest("s", "x", 1)).status.ok());
}

TEST(GenerateTest, ADeadlineEndsTheAnswer) {
  TestServer server(LongAnswersAllowed());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const auto reader = server.inference().Generate(&context, PromptRequest("", "x", 1 << 24));
  for (v1::GenerateResponse event; reader->Read(&event);) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitIdle(server);
}

TEST(GenerateTest, DeletingTheSessionEndsItsAnswer) {
  TestServer server(LongAnswersAllowed());
  server.CreateSession("s");
  const int64_t reserved = server.engine().Stats().reserved_bytes;
  LongAnswer running(server.inference(), "s");
  grpc::ClientContext context;
  Bound(context);
  v1::DeleteSessionRequest request;
  request.set_name("sessions/s");
  google::protobuf::Empty empty;
  EXPECT_TRUE(server.sessions().DeleteSession(&context, request, &empty).ok());
  const grpc::Status status = running.Finish().status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "SESSION_DELETED");
  AwaitIdle(server);
  EXPECT_LT(server.engine().Stats().reserved_bytes, reserved);
}

TEST(GenerateTest, AFullQueueRefusesWithAHintWhenToRetry) {
  TestServer::Setup setup = LongAnswersAllowed();
  setup.engine.max_active_turns = 1;
  setup.engine.max_queued_turns = 1;
  TestServer server(setup);
  LongAnswer running(server.inference(), "");
  // Of two more calls one waits in the queue and the other one is refused; which is up to the network.
  grpc::ClientContext contexts[2];
  grpc::Status statuses[2];
  absl::Mutex mutex;
  int finished = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    Bound(contexts[i]);
    callers.emplace_back([&, i] {
      const auto reader = server.inference().Generate(&contexts[i], PromptRequest("", "x", 1));
      for (v1::GenerateResponse event; reader->Read(&event);) {
      }
      const grpc::Status status = reader->Finish();
      absl::MutexLock lock(&mutex);
      statuses[i] = status;
      ++finished;
    });
  }
  {
    absl::MutexLock lock(&mutex);
    const auto one_finished = [&] { return finished >= 1; };
    mutex.Await(absl::Condition(&one_finished));
    ASSERT_EQ(finished, 1);
  }
  running.Cancel();
  running.Finish();
  for (std::thread& caller : callers) caller.join();
  const grpc::Status& refused = statuses[0].ok() ? statuses[1] : statuses[0];
  EXPECT_TRUE(statuses[0].ok() || statuses[1].ok()) << "the waiting one was answered";
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ErrorInfoOf(refused).reason(), "QUEUE_FULL");
  EXPECT_GT(RetryInfoOf(refused).retry_delay().seconds(), 0);
}

TEST(GenerateTest, ARequestIdReplaysTheAnswerWithoutGeneratingAgain) {
  TestServer server;
  server.CreateSession("s");
  v1::GenerateRequest request = PromptRequest("s", "hello", 6);
  request.mutable_sampling()->set_temperature(1);
  request.set_request_id("r1");
  const Generated first = Generate(server.inference(), request);
  const Generated retry = Generate(server.inference(), request);
  ASSERT_TRUE(first.status.ok() && retry.status.ok()) << retry.status.error_message();
  EXPECT_EQ(first.token_ids(), retry.token_ids());
  EXPECT_EQ(first.text(), retry.text());
  EXPECT_TRUE(retry.events.front().has_route());
  EXPECT_EQ(first.events.back().SerializeAsString(), retry.events.back().SerializeAsString());
  EXPECT_EQ(Get(server, "s").turns(), 1);

  server.clock().Advance(absl::Minutes(10));
  ASSERT_TRUE(Generate(server.inference(), request).status.ok());
  EXPECT_EQ(Get(server, "s").turns(), 2) << "after ten minutes it is a new request";
}

TEST(GenerateTest, ARequestIdOfADeletedSessionIsNewInItsSuccessor) {
  TestServer server;
  v1::GenerateRequest request = PromptRequest("s", "hello", 2);
  request.set_request_id("r");
  server.CreateSession("s");
  ASSERT_TRUE(Generate(server.inference(), request).status.ok());
  ASSERT_TRUE(server.server().sessions().Delete("default", "s").ok());
  server.clock().Advance(absl::Milliseconds(1));
  server.CreateSession("s");
  ASSERT_TRUE(Generate(server.inference(), request).status.ok());
  EXPECT_EQ(Get(server, "s").turns(), 1);
}

TEST(GenerateTest, ARequestIdThatFailedMayBeUsedAgain) {
  TestServer server(LongAnswersAllowed());
  v1::GenerateRequest request = PromptRequest("", "x", 2);
  request.set_request_id("r");
  v1::GenerateRequest empty = request;
  empty.clear_input();
  EXPECT_FALSE(Generate(server.inference(), empty).status.ok());
  EXPECT_TRUE(Generate(server.inference(), request).status.ok());
}

TEST(GenerateTest, SixteenStreamsAtOnceEqualEachAlone) {
  TestServer server;
  std::vector<std::vector<int32_t>> alone(16), together(16);
  const auto request = [](int i) {
    return PromptRequest("", std::string(1 + 3 * i, static_cast<char>('a' + i)), 24);
  };
  for (int i = 0; i < 16; ++i) alone[i] = Generate(server.inference(), request(i)).token_ids();
  std::vector<std::thread> callers;
  for (int i = 0; i < 16; ++i) {
    callers.emplace_back([&, i] { together[i] = Generate(server.inference(), request(i)).token_ids(); });
  }
  for (std::thread& caller : callers) caller.join();
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(alone[i].size(), 24u);
    EXPECT_EQ(alone[i], together[i]) << i;
  }
}

TEST(CountTokensTest, CountsAndListsTokens) {
  TestServer server;
  grpc::ClientContext context;
  Bound(context);
  v1::CountTokensRequest request;
  request.set_prompt("abc");
  v1::CountTokensResponse response;
  ASSERT_TRUE(server.inference().CountTokens(&context, request, &response).ok());
  EXPECT_EQ(response.tokens(), 3);
  EXPECT_THAT(response.token_ids(), testing::ElementsAre('a', 'b', 'c'));
}

}  // namespace
}  // namespace memgate
