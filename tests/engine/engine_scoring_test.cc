#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "engine/memory/memory_kind.h"
#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"
#include "tests/model/running_model.h"

namespace memgate {
namespace {

// logits: [T, V] for `tokens`. Sum over all but the first token of ln softmax(logits of the one before).
double ReferenceSum(const std::vector<float>& logits, const std::vector<TokenId>& tokens, int vocab_size) {
  long double sum = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const float* row = &logits[i * vocab_size];
    long double total = 0;
    for (int v = 0; v < vocab_size; ++v) total += std::exp(static_cast<long double>(row[v]));
    sum += std::log(std::exp(static_cast<long double>(row[tokens[i + 1]])) / total);
  }
  return static_cast<double>(sum);
}

class EngineScoringTest : public EngineFixture {
 protected:
  static std::shared_ptr<TurnRecorder> Score(Engine& engine, const std::shared_ptr<Session>& session,
                                             std::vector<TokenId> tokens, TextScore before = {},
                                             PathPreference preference = PathPreference::kAuto) {
    return Run(engine, {.lease = Lease(engine, session),
                        .mode = TurnMode::kIngest,
                        .tokens = std::move(tokens),
                        .score = before,
                        .preference = preference});
  }

  static TextScore ScoreOf(Engine& engine, const std::vector<TokenId>& tokens) {
    const auto turn = Score(engine, MakeSession(engine), tokens);
    EXPECT_TRUE(turn->end.status.ok()) << turn->end.status;
    return turn->end.score;
  }
};

TEST_F(EngineScoringTest, ExactTextScoresAsAPlainSoftmaxOverItsLogits) {
  const std::string folder = WriteTinyModel(folder_.File("model"), {.eos_token_id = -1});
  auto engine = *Engine::Load({.model_path = folder, .threads = 2});
  const std::vector<TokenId> text = RandomTokens(200, 1);
  const auto session = MakeSession(*engine, {.sinks = 0, .window = 256, .segment = 8});
  const auto turn = Score(*engine, session, text);
  ASSERT_TRUE(turn->end.status.ok()) << turn->end.status;
  EXPECT_EQ(turn->start.route.path, Path::kExact);

  RunningModel model(folder);
  const auto logits = model.Feed(*model.NewExactSession(256), text);
  EXPECT_EQ(turn->end.score.tokens, 199);
  EXPECT_NEAR(turn->end.score.logprob_sum, ReferenceSum(logits, text, kTinyVocabSize), 1e-3);
}

TEST_F(EngineScoringTest, GatedTextScoresAsAPlainSoftmaxOverItsLogits) {
  const std::string folder = WriteTinyModel(folder_.File("model"), {.eos_token_id = -1});
  auto engine = *Engine::Load({.model_path = folder, .threads = 2});
  const std::vector<TokenId> text = RandomTokens(200, 2);
  const auto turn = Score(
      *engine, MakeSession(*engine, {.memory_kind = "window", .sinks = 2, .window = 16, .segment = 8}), text);
  ASSERT_TRUE(turn->end.status.ok()) << turn->end.status;
  EXPECT_GT(turn->end.folded_tokens, 0);

  RunningModel model(folder);
  const auto window = MakeWindowKind();
  const auto state = model.NewSession(*window, {.sinks = 2, .window = 16, .segment = 8});
  const auto logits = model.Feed(*state, text);
  EXPECT_EQ(turn->end.score.tokens, 199);
  EXPECT_NEAR(turn->end.score.logprob_sum, ReferenceSum(logits, text, kTinyVocabSize), 1e-3);
}

TEST_F(EngineScoringTest, TextInPartsScoresBitForBitAsAtOnce) {
  auto engine = LoadTiny();
  const std::vector<TokenId> text = RandomTokens(150, 3);
  const TextScore whole = ScoreOf(*engine, text);
  EXPECT_EQ(whole.tokens, 149);
  const auto session = MakeSession(*engine);
  TextScore parts;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.size(), begin + 1 + begin % 11);
    const auto turn = Score(*engine, session, {text.begin() + begin, text.begin() + end}, parts);
    ASSERT_TRUE(turn->end.status.ok()) << turn->end.status;
    parts = turn->end.score;
    begin = end;
  }
  EXPECT_EQ(parts.tokens, whole.tokens);
  EXPECT_EQ(parts.logprob_sum, whole.logprob_sum);
}

TEST_F(EngineScoringTest, TheRouteDoesNotChangeTheScore) {
  auto engine = LoadTiny();
  const std::vector<TokenId> first = RandomTokens(20, 4);
  const std::vector<TokenId> second = RandomTokens(60, 5);
  const auto moved = MakeSession(*engine);
  const auto gated = MakeSession(*engine);
  const auto exact_start = Score(*engine, moved, first);
  const auto gated_start = Score(*engine, gated, first, {}, PathPreference::kGated);
  EXPECT_EQ(exact_start->start.route.path, Path::kExact);
  EXPECT_EQ(gated_start->start.route.path, Path::kGated);
  EXPECT_EQ(exact_start->end.score.logprob_sum, gated_start->end.score.logprob_sum);
  const auto exact_end = Score(*engine, moved, second, exact_start->end.score);
  const auto gated_end = Score(*engine, gated, second, gated_start->end.score);
  EXPECT_GT(exact_end->end.folded_tokens, 0);
  EXPECT_EQ(exact_end->end.score.tokens, 79);
  EXPECT_EQ(exact_end->end.score.logprob_sum, gated_end->end.score.logprob_sum);
}

TEST_F(EngineScoringTest, FewLogitRowsScoreAsManyDo) {
  const TinyModelOptions model = {.eos_token_id = -1, .memory = TinyMemory::kMemgate};
  const std::vector<TokenId> text = RandomTokens(90, 6);
  const TextScore many = ScoreOf(*LoadTiny(model), text);
  for (const int rows : {1, 3}) {
    const TextScore few = ScoreOf(*LoadTiny(model, {.max_batch_tokens = 8, .max_active_turns = rows}), text);
    EXPECT_EQ(few.tokens, many.tokens);
    EXPECT_EQ(few.logprob_sum, many.logprob_sum) << rows << " rows";
  }
}

TEST_F(EngineScoringTest, TurnsThatScoreAndTurnsThatAnswerDoNotChangeEachOther) {
  auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate},
                         {.max_batch_tokens = 16, .max_active_turns = 6});
  constexpr int kPairs = 3;
  std::vector<TextScore> scores_alone;
  std::vector<std::vector<TokenId>> answers_alone;
  for (int i = 0; i < kPairs; ++i) {
    scores_alone.push_back(ScoreOf(*engine, RandomTokens(70 + i, i)));
    answers_alone.push_back(
        Generate(*engine, MakeSession(*engine), RandomTokens(30 + i, 10 + i), 25)->tokens);
  }
  std::vector<std::shared_ptr<TurnRecorder>> scored, answered;
  for (int i = 0; i < kPairs; ++i) {
    scored.push_back(std::make_shared<TurnRecorder>());
    answered.push_back(std::make_shared<TurnRecorder>());
    ASSERT_TRUE(engine
                    ->Submit({.lease = Lease(*engine, MakeSession(*engine)),
                              .mode = TurnMode::kIngest,
                              .tokens = RandomTokens(70 + i, i),
                              .score = TextScore()},
                             scored.back())
                    .ok());
    ASSERT_TRUE(engine
                    ->Submit({.lease = Lease(*engine, MakeSession(*engine)),
                              .tokens = RandomTokens(30 + i, 10 + i),
                              .max_new_tokens = 25},
                             answered.back())
                    .ok());
  }
  for (int i = 0; i < kPairs; ++i) {
    EXPECT_EQ(scored[i]->Wait().score.logprob_sum, scores_alone[i].logprob_sum);
    EXPECT_TRUE(answered[i]->Wait().status.ok());
    EXPECT_EQ(answered[i]->tokens, answers_alone[i]);
  }
}

TEST_F(EngineScoringTest, OnlyATokenWithNothingBeforeItHasNoScore) {
  auto engine = LoadTiny();
  const auto session = MakeSession(*engine);
  EXPECT_EQ(Score(*engine, session, {'a'})->end.score.tokens, 0);
  EXPECT_EQ(Score(*engine, session, {'b'})->end.score.tokens, 1);
  Generate(*engine, session, RandomTokens(4, 7), 5);
  EXPECT_EQ(Score(*engine, session, RandomTokens(9, 8))->end.score.tokens, 9)
      << "the last answer comes before";
}

TEST_F(EngineScoringTest, ProgressTellsTheScoreSoFar) {
  auto engine = LoadTiny();
  const auto turn =
      Score(*engine, MakeSession(*engine), RandomTokens(60, 9), {.tokens = 5, .logprob_sum = -7});
  ASSERT_GT(turn->progress.size(), 2u);
  TextScore before = {.tokens = 5, .logprob_sum = -7};
  for (const TurnProgress& progress : turn->progress) {
    EXPECT_GT(progress.score.tokens, before.tokens);
    EXPECT_LT(progress.score.logprob_sum, before.logprob_sum);
    before = progress.score;
  }
  EXPECT_EQ(turn->end.score.tokens, 5 + 59);
  EXPECT_EQ(turn->end.score.logprob_sum, before.logprob_sum);
}

TEST_F(EngineScoringTest, ScoringChangesNothingInTheSession) {
  auto engine = LoadTiny();
  const auto scored = MakeSession(*engine);
  const auto plain = MakeSession(*engine);
  Score(*engine, scored, RandomTokens(80, 10));
  const auto turn = Ingest(*engine, plain, RandomTokens(80, 10));
  EXPECT_EQ(turn->end.score.tokens, 0);
  EXPECT_EQ(Snapshot(*engine, scored), Snapshot(*engine, plain));
}

TEST_F(EngineScoringTest, AnswersCannotBeScored) {
  auto engine = LoadTiny();
  const auto refused = Run(*engine, {.tokens = {'a'}, .score = TextScore()});
  EXPECT_EQ(refused->end.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused->end.status.message()), testing::HasSubstr("score"));
}

}  // namespace
}  // namespace memgate
