#include "server/ingest_call.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/test_server.h"

namespace memgate {
namespace {

struct Ingested {
  grpc::Status status;
  std::vector<v1::IngestProgress> progress;
};

// An Ingest call, message by message.
class IngestStream {
 public:
  explicit IngestStream(TestServer& server) {
    Bound(context_);
    stream_ = server.inference().Ingest(&context_);
  }
  bool Text(const std::string& session, const std::string& text) {
    v1::IngestRequest request;
    if (!session.empty()) request.set_session("sessions/" + session);
    request.set_text(text);
    return stream_->Write(request);
  }
  bool Score(const std::string& session, const std::string& text) {
    v1::IngestRequest request;
    request.set_session("sessions/" + session);
    request.set_text(text);
    request.set_score(true);
    return stream_->Write(request);
  }
  bool Tokens(const std::vector<int32_t>& ids) {
    v1::IngestRequest request;
    request.mutable_tokens()->mutable_ids()->Assign(ids.begin(), ids.end());
    return stream_->Write(request);
  }
  bool Read(v1::IngestProgress& progress) { return stream_->Read(&progress); }
  void Cancel() { context_.TryCancel(); }
  Ingested Finish() {
    stream_->WritesDone();
    Ingested result;
    for (v1::IngestProgress progress; stream_->Read(&progress);) result.progress.push_back(progress);
    result.status = stream_->Finish();
    return result;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::IngestRequest, v1::IngestProgress>> stream_;
};

std::string LogText(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) text += "line " + std::to_string(i) + ": pressure \xC3\xA4 normal\n";
  return text;
}

TEST(IngestTest, TakesInEverythingAndReportsIt) {
  TestServer server;
  server.CreateSession("s");
  const std::string text = LogText(300);
  IngestStream stream(server);
  for (size_t at = 0; at < text.size(); at += 777) {  // cuts characters in two
    ASSERT_TRUE(stream.Text(at == 0 ? "s" : "", text.substr(at, 777)));
  }
  const Ingested result = stream.Finish();
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_FALSE(result.progress.empty());
  int64_t before = 0;
  for (const v1::IngestProgress& progress : result.progress) {
    EXPECT_GE(progress.ingested_bytes(), before);
    EXPECT_EQ(progress.done(), &progress == &result.progress.back());
    before = progress.ingested_bytes();
  }
  const v1::IngestProgress& last = result.progress.back();
  EXPECT_EQ(last.ingested_bytes(), static_cast<int64_t>(text.size()));
  EXPECT_EQ(last.ingested_tokens(), static_cast<int64_t>(text.size())) << "one token per byte";
  EXPECT_EQ(last.accounting().total_tokens(), static_cast<int64_t>(text.size()));
  EXPECT_EQ(last.path(), v1::PATH_GATED);
}

TEST(IngestTest, GivesTheSameSessionHoweverTheTextIsCut) {
  TestServer server;
  const std::string text = LogText(40);
  std::vector<std::vector<int32_t>> answers;
  for (const size_t cut : {text.size(), size_t{1000}, size_t{13}}) {
    const std::string id = "cut-" + std::to_string(cut);
    server.CreateSession(id);
    IngestStream stream(server);
    for (size_t at = 0; at < text.size(); at += cut) stream.Text(at == 0 ? id : "", text.substr(at, cut));
    ASSERT_TRUE(stream.Finish().status.ok());
    answers.push_back(Generate(server.inference(), PromptRequest(id, "?", 16)).token_ids());
  }
  EXPECT_EQ(answers[0].size(), 16u);
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_EQ(answers[0], answers[2]);
}

TEST(IngestTest, ScoresTheSameHoweverTheTextIsCut) {
  TestServer server;
  const std::string text = LogText(40);
  std::vector<double> sums;
  for (const size_t cut : {text.size(), size_t{1000}, size_t{13}}) {
    const std::string id = "cut-" + std::to_string(cut);
    server.CreateSession(id);
    IngestStream stream(server);
    stream.Score(id, text.substr(0, cut));
    for (size_t at = cut; at < text.size(); at += cut) stream.Text("", text.substr(at, cut));
    const Ingested result = stream.Finish();
    ASSERT_TRUE(result.status.ok());
    for (const v1::IngestProgress& progress : result.progress) {
      // The last token scored may still be pending.
      EXPECT_GE(progress.scored_tokens(), progress.ingested_tokens() - 1);
      EXPECT_LE(progress.scored_tokens(), progress.ingested_tokens());
    }
    EXPECT_EQ(result.progress.back().scored_tokens(), static_cast<int64_t>(text.size()) - 1);
    sums.push_back(result.progress.back().logprob_sum());
  }
  EXPECT_LT(sums[0], 0);
  EXPECT_EQ(sums[0], sums[1]);
  EXPECT_EQ(sums[0], sums[2]);
}

TEST(IngestTest, TheNextCallScoresItsFirstTokenToo) {
  TestServer server;
  server.CreateSession("whole");
  server.CreateSession("parts");
  const auto score = [&](const std::string& id, const std::string& text) {
    IngestStream stream(server);
    stream.Score(id, text);
    const Ingested result = stream.Finish();
    EXPECT_TRUE(result.status.ok()) << result.status.error_message();
    return result.progress.back();
  };
  const v1::IngestProgress whole = score("whole", "pressure normal, flow normal");
  const v1::IngestProgress first = score("parts", "pressure normal");
  const v1::IngestProgress second = score("parts", ", flow normal");
  EXPECT_EQ(first.scored_tokens(), 14);
  EXPECT_EQ(second.scored_tokens(), 13);
  EXPECT_DOUBLE_EQ(first.logprob_sum() + second.logprob_sum(), whole.logprob_sum());
}

TEST(IngestTest, DoesNotScoreUnasked) {
  TestServer server;
  server.CreateSession("s");
  IngestStream stream(server);
  stream.Text("s", LogText(3));
  const Ingested result = stream.Finish();
  EXPECT_EQ(result.progress.back().scored_tokens(), 0);
  EXPECT_EQ(result.progress.back().logprob_sum(), 0);
}

TEST(IngestTest, TextAndTokenIdsKeepTheirOrder) {
  TestServer server;
  server.CreateSession("mixed");
  server.CreateSession("plain");
  IngestStream mixed(server);
  mixed.Text("mixed", "ab");
  mixed.Tokens({'c', 'd'});
  mixed.Text("", "ef");
  ASSERT_TRUE(mixed.Finish().status.ok());
  IngestStream plain(server);
  plain.Text("plain", "abcdef");
  ASSERT_TRUE(plain.Finish().status.ok());
  EXPECT_EQ(Generate(server.inference(), PromptRequest("mixed", "?", 8)).token_ids(),
            Generate(server.inference(), PromptRequest("plain", "?", 8)).token_ids());
}

SessionInfo InfoOf(TestServer& server, const std::string& id) {
  return server.engine().Describe(*server.server().sessions().Get("default", id)->session);
}

void WaitUntilBusy(TestServer& server, const std::string& id, bool busy) {
  while (InfoOf(server, id).busy != busy) std::this_thread::yield();
}

TEST(IngestTest, ACancelledCallLeavesHeldBackTextOut) {
  TestServer server;
  for (int i = 0; i < 50; ++i) {  // the cancellation races with the end of the stream
    const std::string id = "s" + std::to_string(i);
    server.CreateSession(id);
    IngestStream stream(server);
    ASSERT_TRUE(stream.Text(id, "half a lin"));
    WaitUntilBusy(server, id, true);
    stream.Cancel();
    EXPECT_EQ(stream.Finish().status.error_code(), grpc::StatusCode::CANCELLED);
    WaitUntilBusy(server, id, false);
    ASSERT_EQ(InfoOf(server, id).accounting.total, 0) << "call " << i;
  }
}

TEST(IngestTest, DeletingTheSessionEndsACallThatWaitsForItsClient) {
  TestServer server;
  const int64_t before = server.engine().Stats().reserved_bytes;
  server.CreateSession("s");
  IngestStream stream(server);
  ASSERT_TRUE(stream.Text("s", "idle"));
  WaitUntilBusy(server, "s", true);
  ASSERT_TRUE(server.server().sessions().Delete("default", "s").ok());
  v1::IngestProgress progress;
  while (stream.Read(progress)) {
  }
  const grpc::Status status = stream.Finish().status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED) << status.error_message();
  EXPECT_EQ(ErrorInfoOf(status).reason(), "SESSION_DELETED");
  EXPECT_EQ(server.engine().Stats().reserved_bytes, before);
}

TEST(IngestTest, TextBeforeAFaultStaysInTheSession) {
  TestServer server;
  for (const std::string& fault : {std::string("bad \xff"), std::string("bad \xC3")}) {
    const std::string id = "s" + std::to_string(static_cast<unsigned char>(fault.back()));
    server.CreateSession(id);
    IngestStream stream(server);
    stream.Text(id, "good ");
    stream.Text("", fault);
    EXPECT_EQ(stream.Finish().status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(InfoOf(server, id).accounting.total, 9) << "one token per byte";
  }
}

TEST(IngestTest, CountsTheBytesOfAllTextWhereItIsNotUtf8) {
  TestServer server;
  server.CreateSession("s");
  IngestStream stream(server);
  stream.Text("s", "ab");
  stream.Tokens({'c', 'd'});
  stream.Text("", "ef\xff");
  const grpc::Status status = stream.Finish().status;
  EXPECT_NE(status.error_message().find("byte 4"), std::string::npos) << status.error_message();
}

TEST(IngestTest, ReportsWhereTextIsNotUtf8) {
  TestServer server;
  server.CreateSession("s");
  IngestStream stream(server);
  stream.Text("s", "good ");
  stream.Text("", "bad \xff");
  const grpc::Status status = stream.Finish().status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("byte 9"), std::string::npos) << status.error_message();
  EXPECT_EQ(BadRequestOf(status).field_violations(0).field(), "text");
}

TEST(IngestTest, ACharacterCutOffAtTheEndIsAnError) {
  TestServer server;
  server.CreateSession("s");
  IngestStream stream(server);
  stream.Text("s", "x\xC3");
  EXPECT_EQ(stream.Finish().status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(IngestTest, NeedsASessionThatExists) {
  TestServer server;
  IngestStream nameless(server);
  nameless.Text("", "x");
  EXPECT_EQ(BadRequestOf(nameless.Finish().status).field_violations(0).field(), "session");
  IngestStream empty(server);
  EXPECT_EQ(empty.Finish().status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  IngestStream unknown(server);
  unknown.Text("nobody", "x");
  EXPECT_EQ(unknown.Finish().status.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(IngestTest, TokenIdsOutsideTheVocabularyAreRefused) {
  TestServer server;
  server.CreateSession("s");
  IngestStream stream(server);
  stream.Text("s", "x");
  stream.Tokens({5, kTinyVocabSize});
  EXPECT_EQ(BadRequestOf(stream.Finish().status).field_violations(0).field(), "tokens.ids[1]");
}

TEST(IngestTest, HoldsTheSessionForTheWholeCallAndFreesItAtTheEnd) {
  TestServer server;
  server.CreateSession("s");
  IngestStream stream(server);
  stream.Text("s", LogText(200));
  v1::IngestProgress progress;
  ASSERT_TRUE(stream.Read(progress));  // the session is open now
  EXPECT_EQ(ErrorInfoOf(Generate(server.inference(), PromptRequest("s", "x", 1)).status).reason(),
            "SESSION_BUSY");
  ASSERT_TRUE(stream.Finish().status.ok());
  EXPECT_TRUE(Generate(server.inference(), PromptRequest("s", "x", 1)).status.ok());
}

TEST(IngestTest, DeletingTheSessionEndsTheCall) {
  TestServer server;
  server.CreateSession("s");
  IngestStream stream(server);
  stream.Text("s", LogText(200));
  v1::IngestProgress progress;
  ASSERT_TRUE(stream.Read(progress));
  ASSERT_TRUE(server.server().sessions().Delete("default", "s").ok());
  stream.Text("", LogText(200));
  const grpc::Status status = stream.Finish().status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "SESSION_DELETED");
}

TEST(IngestTest, AnEmptyCallIsDoneAtOnce) {
  TestServer server;
  server.CreateSession("s");
  IngestStream stream(server);
  stream.Text("s", "");
  const Ingested result = stream.Finish();
  ASSERT_TRUE(result.status.ok());
  ASSERT_EQ(result.progress.size(), 1u);
  EXPECT_TRUE(result.progress[0].done());
  EXPECT_EQ(result.progress[0].ingested_tokens(), 0);
}

}  // namespace
}  // namespace memgate
