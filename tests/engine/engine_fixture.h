// An engine on a tiny random model, and the calls that most tests make.
#ifndef MEMGATE_TESTS_ENGINE_ENGINE_FIXTURE_H_
#define MEMGATE_TESTS_ENGINE_ENGINE_FIXTURE_H_

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "tests/support/turn_recorder.h"

namespace memgate {

class EngineFixture : public testing::Test {
 protected:
  // Geometry of the tiny module: folding begins after 2 + 16 + 8 = 26 tokens.
  static constexpr int kExactCapacity = 26;

  std::unique_ptr<Engine> LoadTiny(TinyModelOptions model = {.eos_token_id = -1,
                                                             .memory = TinyMemory::kMemgate},
                                   EngineOptions options = {}) {
    options.model_path = WriteTinyModel(folder_.File("tiny" + std::to_string(++models_)), model);
    options.threads = 2;
    auto engine = Engine::Load(std::move(options));
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engine.ok() ? *std::move(engine) : nullptr;
  }

  static std::shared_ptr<Session> MakeSession(Engine& engine, const SessionOptions& options = {}) {
    auto session = engine.CreateSession(options);
    EXPECT_TRUE(session.ok()) << session.status();
    return *session;
  }

  static std::shared_ptr<SessionLease> Lease(Engine& engine, const std::shared_ptr<Session>& session) {
    auto lease = engine.Acquire(session);
    EXPECT_TRUE(lease.ok()) << lease.status();
    return *lease;
  }

  // Submits and waits. A refusal at Submit is reported like an end.
  static std::shared_ptr<TurnRecorder> Run(Engine& engine, TurnRequest request) {
    auto recorder = std::make_shared<TurnRecorder>();
    auto turn = engine.Submit(std::move(request), recorder);
    if (!turn.ok()) {
      recorder->end.status = turn.status();
    } else {
      recorder->Wait();
    }
    return recorder;
  }

  static std::shared_ptr<TurnRecorder> Generate(Engine& engine, const std::shared_ptr<Session>& session,
                                                std::vector<TokenId> prompt, int max_new,
                                                PathPreference preference = PathPreference::kAuto) {
    return Run(engine, {.lease = session ? Lease(engine, session) : nullptr,
                        .tokens = std::move(prompt),
                        .max_new_tokens = max_new,
                        .preference = preference});
  }

  // Those letters and special tokens of the tiny vocabulary that end an answer.
  static std::vector<TokenId> EndIds(Engine& engine) {
    std::vector<TokenId> ends;
    for (TokenId id = 'a'; id < kTinyVocabSize; id = id == 'z' ? kTinyEndOfText : id + 1) {
      SamplingParams always;
      always.logit_bias = {{id, 100.0f}};
      const auto turn = Run(engine, {.tokens = {'a'}, .max_new_tokens = 2, .sampling = always});
      EXPECT_TRUE(turn->end.status.ok()) << turn->end.status;
      if (turn->end.reason == FinishReason::kStop) ends.push_back(id);
    }
    return ends;
  }

  static std::shared_ptr<TurnRecorder> Ingest(Engine& engine, const std::shared_ptr<Session>& session,
                                              std::vector<TokenId> tokens) {
    return Run(engine,
               {.lease = Lease(engine, session), .mode = TurnMode::kIngest, .tokens = std::move(tokens)});
  }

  static std::string Snapshot(Engine& engine, const std::shared_ptr<Session>& session) {
    auto snapshot = engine.Export(*Lease(engine, session));
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return *std::move(snapshot);
  }

  static std::vector<TokenId> RandomTokens(int count, int seed) {
    std::mt19937 random(seed);
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>('a' + random() % 26);
    return tokens;
  }

  TempFolder folder_;

 private:
  int models_ = 0;
};

// The reason a status carries for programs ("SESSION_BUSY"), or "".
inline std::string ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload("memgate/reason");
  return payload ? std::string(*payload) : "";
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_ENGINE_ENGINE_FIXTURE_H_
