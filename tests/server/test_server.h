// A server on a loopback port, with a tiny random model, for tests that call it as a client would.
#ifndef MEMGATE_TESTS_SERVER_TEST_SERVER_H_
#define MEMGATE_TESTS_SERVER_TEST_SERVER_H_

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/engine.h"
#include "google/rpc/error_details.pb.h"
#include "memgate/v1/inference.grpc.pb.h"
#include "memgate/v1/model.grpc.pb.h"
#include "memgate/v1/session.grpc.pb.h"
#include "server/log.h"
#include "server/server.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {

// Time that moves only when told to. Thread-safe.
class ManualClock {
 public:
  absl::Time Now() const { return absl::FromUnixNanos(nanos_.load()); }
  void Advance(absl::Duration by) { nanos_ += absl::ToInt64Nanoseconds(by); }

 private:
  std::atomic<int64_t> nanos_{absl::ToUnixNanos(absl::Now())};
};

class TestServer {
 public:
  struct Setup {
    // The default addresses become a loopback port of the system's choice, and no metrics.
    Options options;
    EngineOptions engine;
    TinyModelOptions model = {.eos_token_id = -1, .memory = TinyMemory::kMemgate};
    std::string chat_template;  // instead of the tiny model's own, if not empty
  };
  // Stops the test program if the server does not start.
  TestServer() : TestServer(Setup()) {}
  explicit TestServer(Setup setup);

  Server& server() { return *server_; }
  Engine& engine() { return *engine_; }
  ManualClock& clock() { return clock_; }

  std::shared_ptr<grpc::Channel> Connect(
      std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials());
  v1::InferenceService::Stub& inference() { return *inference_; }
  v1::SessionService::Stub& sessions() { return *sessions_; }
  v1::ModelService::Stub& models() { return *models_; }

  // Creates sessions/{id}; the test fails if that does.
  v1::Session CreateSession(const std::string& id);

 private:
  TempFolder folder_;
  ManualClock clock_;
  Log log_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::InferenceService::Stub> inference_;
  std::unique_ptr<v1::SessionService::Stub> sessions_;
  std::unique_ptr<v1::ModelService::Stub> models_;
};

// A finished Generate call.
struct Generated {
  grpc::Status status;
  std::vector<v1::GenerateResponse> events;

  std::string text() const;
  std::vector<int32_t> token_ids() const;
};
// `key`: sent as a bearer key if not empty.
Generated Generate(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request,
                   const std::string& key = "");
v1::GenerateRequest PromptRequest(const std::string& session, const std::string& prompt, int max_tokens);

// A server that allows answers as long as LongAnswer's.
TestServer::Setup LongAnswersAllowed();

// A Generate call that would go on for very long and has certainly begun: its first delta was read.
class LongAnswer {
 public:
  LongAnswer(v1::InferenceService::Stub& stub, const std::string& session);
  void Cancel() { context_.TryCancel(); }
  // Reads to the end.
  Generated Finish();

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
  Generated result_;
};

// Sets the deadline that keeps a broken test from hanging.
void Bound(grpc::ClientContext& context);

// The detail of type Detail in `status`, or an empty message.
google::rpc::ErrorInfo ErrorInfoOf(const grpc::Status& status);
google::rpc::BadRequest BadRequestOf(const grpc::Status& status);
google::rpc::RetryInfo RetryInfoOf(const grpc::Status& status);

}  // namespace memgate

#endif  // MEMGATE_TESTS_SERVER_TEST_SERVER_H_
