#include "tests/server/test_server.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"

namespace memgate {
namespace {

template <typename T>
T Require(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::cerr << "the test server does not start: " << value.status() << "\n";
    std::abort();
  }
  return *std::move(value);
}

template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  Detail detail;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return Detail();
}

}  // namespace

TestServer::TestServer(Setup setup) : log_(LogLevel::kError, LogFormat::kText) {
  if (!setup.chat_template.empty()) setup.model.chat_template = false;
  setup.options.model = setup.engine.model_path = WriteTinyModel(folder_.File("tiny"), setup.model);
  if (!setup.chat_template.empty()) {
    std::ofstream(setup.options.model + "/chat_template.jinja") << setup.chat_template;
  }
  if (setup.options.listen == Options().listen) setup.options.listen = "127.0.0.1:0";
  // The metrics endpoint takes two seconds to stop; tests that need one ask for it.
  if (setup.options.metrics_listen == Options().metrics_listen) setup.options.metrics_listen = "off";
  setup.engine.threads = 1;
  engine_ = Require(Engine::Load(setup.engine));
  server_ = Require(Server::Start(setup.options, *engine_, log_, [this] { return clock_.Now(); }));
  const auto channel = Connect();
  inference_ = v1::InferenceService::NewStub(channel);
  sessions_ = v1::SessionService::NewStub(channel);
  models_ = v1::ModelService::NewStub(channel);
}

std::shared_ptr<grpc::Channel> TestServer::Connect(std::shared_ptr<grpc::ChannelCredentials> credentials) {
  return grpc::CreateChannel(server_->address(), credentials);
}

v1::Session TestServer::CreateSession(const std::string& id) {
  grpc::ClientContext context;
  Bound(context);
  v1::CreateSessionRequest request;
  request.set_session_id(id);
  v1::Session session;
  const grpc::Status status = sessions_->CreateSession(&context, request, &session);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return session;
}

std::string Generated::text() const {
  std::string text;
  for (const auto& event : events) text += event.delta().text();
  return text;
}

std::vector<int32_t> Generated::token_ids() const {
  std::vector<int32_t> ids;
  for (const auto& event : events) {
    ids.insert(ids.end(), event.delta().token_ids().begin(), event.delta().token_ids().end());
  }
  return ids;
}

void Bound(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
}

Generated Generate(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request,
                   const std::string& key) {
  grpc::ClientContext context;
  Bound(context);
  if (!key.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", key));
  const auto reader = stub.Generate(&context, request);
  Generated result;
  for (v1::GenerateResponse event; reader->Read(&event);) result.events.push_back(event);
  result.status = reader->Finish();
  return result;
}

v1::GenerateRequest PromptRequest(const std::string& session, const std::string& prompt, int max_tokens) {
  v1::GenerateRequest request;
  if (!session.empty()) request.set_session("sessions/" + session);
  request.set_prompt(prompt);
  request.set_max_tokens(max_tokens);
  request.mutable_sampling()->set_temperature(0);
  request.set_ignore_eos(true);
  return request;
}

TestServer::Setup LongAnswersAllowed() {
  TestServer::Setup setup;
  setup.options.max_tokens_limit = 1 << 24;
  return setup;
}

LongAnswer::LongAnswer(v1::InferenceService::Stub& stub, const std::string& session) {
  Bound(context_);
  reader_ = stub.Generate(&context_, PromptRequest(session, "tell me everything", 1 << 24));
  for (v1::GenerateResponse event; reader_->Read(&event);) {
    result_.events.push_back(event);
    if (event.has_delta()) return;
  }
  result_.status = reader_->Finish();
  reader_.reset();
  ADD_FAILURE() << "the answer did not begin: " << result_.status.error_message();
}

Generated LongAnswer::Finish() {
  if (reader_ == nullptr) return result_;
  for (v1::GenerateResponse event; reader_->Read(&event);) result_.events.push_back(event);
  result_.status = reader_->Finish();
  reader_.reset();
  return result_;
}

google::rpc::ErrorInfo ErrorInfoOf(const grpc::Status& status) {
  return DetailOf<google::rpc::ErrorInfo>(status);
}
google::rpc::BadRequest BadRequestOf(const grpc::Status& status) {
  return DetailOf<google::rpc::BadRequest>(status);
}
google::rpc::RetryInfo RetryInfoOf(const grpc::Status& status) {
  return DetailOf<google::rpc::RetryInfo>(status);
}

}  // namespace memgate
