#include <atomic>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/notification.h"

namespace memgate {
namespace {

using EngineTurnTest = EngineFixture;

TEST_F(EngineTurnTest, SixteenSessionsAtOnceEachProduceWhatTheyProduceAlone) {
  constexpr int kSessions = 16;
  auto engine = LoadTiny();
  std::vector<std::vector<TokenId>> alone;
  for (int i = 0; i < kSessions; ++i) {
    alone.push_back(Generate(*engine, MakeSession(*engine), RandomTokens(5 + 9 * i, i), 30)->tokens);
    EXPECT_EQ(alone.back().size(), 30u);
  }
  std::vector<std::shared_ptr<TurnRecorder>> together;
  for (int i = 0; i < kSessions; ++i) {
    together.push_back(std::make_shared<TurnRecorder>());
    auto turn = engine->Submit({.lease = Lease(*engine, MakeSession(*engine)),
                                .tokens = RandomTokens(5 + 9 * i, i),
                                .max_new_tokens = 30},
                               together.back());
    ASSERT_TRUE(turn.ok()) << turn.status();
  }
  for (int i = 0; i < kSessions; ++i) {
    EXPECT_TRUE(together[i]->Wait().status.ok());
    EXPECT_EQ(together[i]->tokens, alone[i]) << "session " << i;
  }
}

// Tokens of one step are picked side by side.
TEST_F(EngineTurnTest, SixteenSessionsThatSampleAtOnceEachSayWhatTheySayAlone) {
  constexpr int kSessions = 16;
  auto engine = LoadTiny();
  const auto request = [&](int i) {
    TurnRequest turn = {.lease = Lease(*engine, MakeSession(*engine)),
                        .tokens = RandomTokens(5 + 3 * i, i),
                        .max_new_tokens = 30};
    turn.sampling = {.temperature = 0.3f * static_cast<float>(1 + i % 5), .seed = static_cast<uint64_t>(i)};
    if (i % 2 == 1) turn.sampling.top_p = 0.9f;
    if (i % 3 == 1) turn.sampling.top_k = 20;
    if (i % 4 == 3) turn.sampling.min_p = 0.05f;
    if (i % 5 == 2) turn.sampling.repetition_penalty = 1.2f;
    if (i % 7 == 5) turn.sampling.logprobs = 4;
    return turn;
  };
  std::vector<std::vector<TokenId>> alone;
  for (int i = 0; i < kSessions; ++i) {
    alone.push_back(Run(*engine, request(i))->tokens);
    EXPECT_EQ(alone.back().size(), 30u);
  }
  std::vector<std::shared_ptr<TurnRecorder>> together;
  for (int i = 0; i < kSessions; ++i) {
    together.push_back(std::make_shared<TurnRecorder>());
    ASSERT_TRUE(engine->Submit(request(i), together.back()).ok());
  }
  for (int i = 0; i < kSessions; ++i) {
    EXPECT_TRUE(together[i]->Wait().status.ok());
    EXPECT_EQ(together[i]->tokens, alone[i]) << "session " << i;
  }
}

TEST_F(EngineTurnTest, OtherSessionsDecodeBetweenThePartsOfALongPrompt) {
  auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate},
                         {.max_batch_tokens = 16, .max_active_turns = 8});
  auto talker = std::make_shared<TurnRecorder>();
  auto reader = std::make_shared<TurnRecorder>();
  std::atomic<bool> reader_submitted{false};
  size_t talker_tokens_when_reader_ended = 0;
  // The long prompt arrives while the other session is decoding.
  talker->on_delta = [&] {
    if (reader_submitted.exchange(true)) return;
    ASSERT_TRUE(
        engine
            ->Submit(
                {.tokens = RandomTokens(400, 1), .max_new_tokens = 1, .preference = PathPreference::kGated},
                reader)
            .ok());
  };
  reader->on_delta = [&] { talker_tokens_when_reader_ended = talker->tokens.size(); };
  ASSERT_TRUE(engine
                  ->Submit({.lease = Lease(*engine, MakeSession(*engine)),
                            .tokens = RandomTokens(3, 2),
                            .max_new_tokens = 200},
                           talker)
                  .ok());
  reader->Wait();
  EXPECT_TRUE(talker->Wait().status.ok());
  // 400 tokens in parts of at most 8 (one segment) take 50 steps; the talker got one token in each.
  EXPECT_GE(talker_tokens_when_reader_ended, 45u);
  EXPECT_GT(reader->progress.size(), 40u);
}

TEST_F(EngineTurnTest, CancelTakesEffectBetweenStepsAndFreesTheSession) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  auto recorder = std::make_shared<TurnRecorder>();
  std::shared_ptr<Turn> turn;
  Notification submitted;
  recorder->on_start = [&] { submitted.WaitForNotification(); };
  recorder->on_delta = [&] {
    if (recorder->tokens.size() == 3) engine->Cancel(turn);
  };
  turn = *engine->Submit(
      {.lease = Lease(*engine, session), .tokens = RandomTokens(5, 1), .max_new_tokens = 100000}, recorder);
  submitted.Notify();
  EXPECT_EQ(recorder->Wait().status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(recorder->tokens.size(), 3u);
  EXPECT_EQ(engine->Describe(*session).accounting.total, 8);
  EXPECT_TRUE(Generate(*engine, session, RandomTokens(2, 2), 1)->end.status.ok());
}

TEST_F(EngineTurnTest, DeadlineEndsTheTurnBetweenSteps) {
  std::atomic<int64_t> seconds{1000};
  auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate},
                         {.clock = [&] { return absl::FromUnixSeconds(seconds.load()); }});
  auto recorder = std::make_shared<TurnRecorder>();
  recorder->on_delta = [&] { seconds += 10; };
  ASSERT_TRUE(
      engine
          ->Submit(
              {.tokens = RandomTokens(4, 1), .max_new_tokens = 1000, .deadline = absl::FromUnixSeconds(1035)},
              recorder)
          .ok());
  EXPECT_EQ(recorder->Wait().status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(recorder->tokens.size(), 4u);
}

TEST_F(EngineTurnTest, SecondTurnOfASessionIsAborted) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  auto lease = Lease(*engine, session);
  const auto second = engine->Acquire(session);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(second.status()), "SESSION_BUSY");
  EXPECT_TRUE(engine->Describe(*session).busy);
  lease.reset();
  EXPECT_TRUE(engine->Acquire(session).ok());
}

TEST_F(EngineTurnTest, FullQueueRefusesAndRecovers) {
  auto engine = LoadTiny({.eos_token_id = -1}, {.max_active_turns = 1, .max_queued_turns = 2});
  auto blocker = std::make_shared<TurnRecorder>();
  Notification started, release;
  blocker->on_start = [&] {
    started.Notify();
    release.WaitForNotification();
  };
  const auto submit = [&](std::shared_ptr<TurnRecorder> recorder) {
    return engine->Submit({.tokens = {1, 2, 3}, .max_new_tokens = 2}, recorder).status();
  };
  ASSERT_TRUE(submit(blocker).ok());
  started.WaitForNotification();
  auto first = std::make_shared<TurnRecorder>();
  auto second = std::make_shared<TurnRecorder>();
  EXPECT_TRUE(submit(first).ok());
  EXPECT_TRUE(submit(second).ok());
  const absl::Status refused = submit(std::make_shared<TurnRecorder>());
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), "QUEUE_FULL");
  release.Notify();
  EXPECT_TRUE(first->Wait().status.ok());
  EXPECT_TRUE(second->Wait().status.ok());
  EXPECT_TRUE(submit(std::make_shared<TurnRecorder>()).ok());
}

TEST_F(EngineTurnTest, ExactPreferenceIsRefusedWhereItIsImpossible) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  const auto too_long =
      Generate(*engine, session, RandomTokens(kExactCapacity, 1), 1, PathPreference::kExact);
  EXPECT_EQ(too_long->end.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(too_long->end.status), "EXACT_IMPOSSIBLE");
  EXPECT_EQ(too_long->starts, 0);
  EXPECT_EQ(engine->Describe(*session).accounting.total, 0);
  EXPECT_TRUE(Generate(*engine, session, RandomTokens(kExactCapacity - 1, 1), 1, PathPreference::kExact)
                  ->end.status.ok());
}

TEST_F(EngineTurnTest, EphemeralTurnsTakeTheExactPathUpToTheLimitAndLeaveNothing) {
  auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate}, {.exact_limit_tokens = 100});
  const int64_t before = engine->Stats().reserved_bytes;
  const auto exact = Generate(*engine, nullptr, RandomTokens(90, 1), 10);
  EXPECT_EQ(exact->start.route, (RouteDecision{Path::kExact, RouteReason::kFits}));
  EXPECT_EQ(exact->end.folded_tokens, 0);
  const auto gated = Generate(*engine, nullptr, RandomTokens(90, 1), 11);
  EXPECT_EQ(gated->start.route, (RouteDecision{Path::kGated, RouteReason::kExceedsExactLimit}));
  EXPECT_GT(gated->end.folded_tokens, 0);
  EXPECT_EQ(engine->Stats().reserved_bytes, before);
}

TEST_F(EngineTurnTest, EphemeralExactContextYieldsToMemoryPressure) {
  auto probe = LoadTiny();
  const int64_t base = probe->Stats().reserved_bytes;
  const int64_t gated_bytes = probe->PlanSession({})->bytes;
  auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate},
                         {.memory_budget_bytes = base + 4 * gated_bytes});
  const auto turn = Generate(*engine, nullptr, RandomTokens(900, 1), 2);
  EXPECT_TRUE(turn->end.status.ok()) << turn->end.status;
  EXPECT_EQ(turn->start.route, (RouteDecision{Path::kGated, RouteReason::kMemoryPressure}));
}

TEST_F(EngineTurnTest, BadInputIsRefusedBeforeItCostsAnything) {
  auto engine = LoadTiny();
  const auto refusal = [&](TurnRequest request) {
    const auto turn = Run(*engine, std::move(request));
    EXPECT_EQ(turn->end.status.code(), absl::StatusCode::kInvalidArgument) << turn->end.status;
    EXPECT_EQ(turn->starts, 0);
    return std::string(turn->end.status.message());
  };
  EXPECT_THAT(refusal({.tokens = {1, -1}}), testing::HasSubstr("tokens"));
  EXPECT_THAT(refusal({.tokens = {kTinyVocabSize}}), testing::HasSubstr("vocabulary"));
  EXPECT_THAT(refusal({.tokens = {}}), testing::HasSubstr("prompt"));
  EXPECT_THAT(refusal({.lease = Lease(*engine, MakeSession(*engine))}), testing::HasSubstr("prompt"));
  EXPECT_THAT(refusal({.tokens = {1}, .max_new_tokens = 0}), testing::HasSubstr("max_tokens"));
  EXPECT_THAT(refusal({.mode = TurnMode::kIngest, .tokens = {1}}), testing::HasSubstr("session"));
  EXPECT_THAT(refusal({.tokens = {1}, .sampling = {.temperature = -1}}), testing::HasSubstr("temperature"));
}

TEST_F(EngineTurnTest, EndTokenAndStopStringAndLengthEndAnAnswer) {
  auto engine = LoadTiny();
  const auto free_run = Generate(*engine, nullptr, RandomTokens(20, 3), 12);
  EXPECT_EQ(free_run->end.reason, FinishReason::kLength);
  EXPECT_EQ(free_run->end.completion_tokens, 12);

  // The fifth sampled token becomes the end token of an otherwise equal model.
  const TokenId fifth = free_run->tokens[4];
  size_t expected = 0;
  while (free_run->tokens[expected] != fifth) ++expected;
  auto with_end = LoadTiny({.eos_token_id = fifth, .memory = TinyMemory::kMemgate});
  const auto stopped = Generate(*with_end, nullptr, RandomTokens(20, 3), 12);
  EXPECT_EQ(stopped->end.reason, FinishReason::kStop);
  EXPECT_EQ(stopped->tokens.size(), expected);
  const auto ignoring =
      Run(*with_end, {.tokens = RandomTokens(20, 3), .max_new_tokens = 12, .ignore_eos = true});
  EXPECT_EQ(ignoring->tokens, free_run->tokens);
}

TEST_F(EngineTurnTest, StopStringsAreFoundAcrossTokensAndNotShown) {
  auto engine = LoadTiny();
  // Biased towards letters, so that the answer is plain text of one byte per token.
  SamplingParams letters;
  letters.temperature = 1;
  letters.seed = 7;
  for (int c = 'a'; c <= 'z'; ++c) letters.logit_bias.emplace_back(c, 100.0f);
  const auto free_run = Run(*engine, {.tokens = {65}, .max_new_tokens = 20, .sampling = letters});
  ASSERT_EQ(free_run->text.size(), 20u);
  const std::string stop = free_run->text.substr(9, 3);
  const auto stopped =
      Run(*engine, {.tokens = {65}, .max_new_tokens = 20, .sampling = letters, .stop = {stop}});
  EXPECT_EQ(stopped->text, free_run->text.substr(0, free_run->text.find(stop)));
  EXPECT_EQ(stopped->end.matched_stop, stop);
  EXPECT_EQ(stopped->end.reason, FinishReason::kStop);
}

TEST_F(EngineTurnTest, ProgressCoversTheWholePrompt) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  const auto turn = Ingest(*engine, session, RandomTokens(75, 1));
  ASSERT_FALSE(turn->progress.empty());
  for (size_t i = 1; i < turn->progress.size(); ++i) {
    EXPECT_GT(turn->progress[i].processed_tokens, turn->progress[i - 1].processed_tokens);
  }
  EXPECT_EQ(turn->progress.back().processed_tokens, 75);
  EXPECT_EQ(turn->end.accounting.total, 75);
}

TEST_F(EngineTurnTest, DrainLetsTurnsFinishAndRefusesNewOnes) {
  auto engine = LoadTiny();
  auto running = std::make_shared<TurnRecorder>();
  ASSERT_TRUE(engine->Submit({.tokens = RandomTokens(5, 1), .max_new_tokens = 50}, running).ok());
  engine->Drain(absl::InfiniteFuture());
  EXPECT_TRUE(running->ended.HasBeenNotified());
  EXPECT_EQ(running->end.reason, FinishReason::kLength);
  const auto late = engine->Submit({.tokens = {1}}, std::make_shared<TurnRecorder>());
  EXPECT_EQ(late.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(late.status()), "DRAINING");
}

TEST_F(EngineTurnTest, DrainCutsAnswersAtItsDeadline) {
  std::atomic<int64_t> seconds{1000};
  auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate},
                         {.clock = [&] { return absl::FromUnixSeconds(seconds.load()); }});
  auto endless = std::make_shared<TurnRecorder>();
  Notification decoding;
  endless->on_delta = [&] {
    if (endless->tokens.size() == 2) decoding.Notify();
    if (endless->tokens.size() >= 2) ++seconds;
  };
  ASSERT_TRUE(engine->Submit({.tokens = {1}, .max_new_tokens = int64_t{1} << 40}, endless).ok());
  decoding.WaitForNotification();
  engine->Drain(absl::FromUnixSeconds(1100));
  EXPECT_TRUE(endless->Wait().status.ok());
  EXPECT_EQ(endless->end.reason, FinishReason::kCut);
}

TEST_F(EngineTurnTest, DestructionCancelsWhatRuns) {
  auto engine = LoadTiny();
  auto endless = std::make_shared<TurnRecorder>();
  Notification decoding;
  endless->on_delta = [&] {
    if (endless->tokens.size() == 1) decoding.Notify();
  };
  ASSERT_TRUE(engine->Submit({.tokens = {1}, .max_new_tokens = int64_t{1} << 40}, endless).ok());
  decoding.WaitForNotification();
  engine.reset();
  EXPECT_EQ(endless->Wait().status.code(), absl::StatusCode::kCancelled);
}

TEST_F(EngineTurnTest, StatsCountStepsTokensAndFolds) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(101, 1));
  const EngineStats stats = engine->Stats();
  EXPECT_EQ(stats.step_tokens, 100);   // the last one is pending
  EXPECT_EQ(stats.folded_tokens, 80);  // 8 * floor((99 - 2 - 16) / 8)
  EXPECT_EQ(stats.memory_writes, 10);
  EXPECT_EQ(engine->Describe(*session).memory_writes, 10);
  EXPECT_EQ(stats.sessions_by_kind.front().kind, "memgate");
  EXPECT_EQ(stats.sessions_by_kind.front().sessions, 1);
}

TEST_F(EngineTurnTest, PromptsCountAgainstTheBudgetUntilTheirTurnEnds) {
  auto engine = LoadTiny();
  const int64_t before = engine->Stats().reserved_bytes;
  const int64_t free_bytes = engine->Stats().budget_bytes - before;
  const auto refused = Run(*engine, {.tokens = std::vector<TokenId>(free_bytes / 8 + 1, 7)});
  EXPECT_EQ(refused->end.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused->end.status), "MEMORY_BUDGET");

  int64_t during = 0;
  auto recorder = std::make_shared<TurnRecorder>();
  recorder->on_start = [&] { during = engine->Stats().reserved_bytes; };
  auto session = MakeSession(*engine);
  const int64_t session_bytes = engine->Describe(*session).bytes;
  ASSERT_TRUE(
      engine
          ->Submit({.lease = Lease(*engine, session), .tokens = RandomTokens(50, 1), .max_new_tokens = 1},
                   recorder)
          .ok());
  recorder->Wait();
  EXPECT_EQ(during, before + session_bytes + 50 * 8);
  EXPECT_EQ(engine->Stats().reserved_bytes, before + session_bytes);
}

TEST_F(EngineTurnTest, OneLeaseRunsOneTurnAtATime) {
  auto engine = LoadTiny();
  auto lease = Lease(*engine, MakeSession(*engine));
  auto first = std::make_shared<TurnRecorder>();
  Notification started, release;
  first->on_start = [&] {
    started.Notify();
    release.WaitForNotification();
  };
  ASSERT_TRUE(engine->Submit({.lease = lease, .tokens = {1, 2}, .max_new_tokens = 1}, first).ok());
  started.WaitForNotification();
  const auto second = engine->Submit({.lease = lease, .tokens = {3}}, std::make_shared<TurnRecorder>());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(second.status()), "SESSION_BUSY");
  release.Notify();
  first->Wait();
  EXPECT_TRUE(Run(*engine, {.lease = lease, .tokens = {3}, .max_new_tokens = 1})->end.status.ok());
}

TEST_F(EngineTurnTest, SmallEphemeralRequestsStayExactUnderPressure) {
  auto probe = LoadTiny();
  auto engine =
      LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate},
               {.memory_budget_bytes = probe->Stats().reserved_bytes + probe->PlanSession({})->bytes - 1});
  const auto turn = Generate(*engine, nullptr, {1, 2}, 1);
  EXPECT_TRUE(turn->end.status.ok()) << turn->end.status;
  EXPECT_EQ(turn->start.route, (RouteDecision{Path::kExact, RouteReason::kFits}));
}

TEST_F(EngineTurnTest, AbsurdTokenLimitsDoNotOverflow) {
  auto engine = LoadTiny();
  auto recorder = std::make_shared<TurnRecorder>();
  std::shared_ptr<Turn> turn;
  Notification submitted;
  recorder->on_start = [&] { submitted.WaitForNotification(); };
  recorder->on_delta = [&] { engine->Cancel(turn); };
  turn = *engine->Submit({.tokens = {1}, .max_new_tokens = std::numeric_limits<int64_t>::max()}, recorder);
  submitted.Notify();
  EXPECT_EQ(recorder->Wait().status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(recorder->start.route.reason, RouteReason::kExceedsExactLimit);
}

}  // namespace
}  // namespace memgate
