#include "engine/sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace memgate {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// Samples from a copy: logits are the sampler's to change.
absl::StatusOr<SampledToken> Sample(Sampler& sampler, std::vector<float> logits,
                                    absl::Span<const uint64_t> allowed = {}) {
  return sampler.Sample(absl::MakeSpan(logits), allowed);
}

int32_t SampleOne(const SamplingParams& params, const std::vector<float>& logits) {
  Sampler sampler(params, static_cast<int>(logits.size()));
  const absl::StatusOr<SampledToken> token = Sample(sampler, logits);
  EXPECT_TRUE(token.ok()) << token.status();
  return token.ok() ? token->id : -1;
}

// How often each id is drawn by one sampler.
std::map<int32_t, int> Histogram(SamplingParams params, const std::vector<float>& logits, int draws) {
  std::map<int32_t, int> counts;
  Sampler sampler(params, static_cast<int>(logits.size()));
  for (int i = 0; i < draws; ++i) ++counts[Sample(sampler, logits)->id];
  return counts;
}

std::set<int32_t> Drawn(const SamplingParams& params, const std::vector<float>& logits, int draws = 3000) {
  std::set<int32_t> ids;
  for (const auto& [id, count] : Histogram(params, logits, draws)) ids.insert(id);
  return ids;
}

std::vector<float> Logs(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

SamplingParams At(float temperature, uint64_t seed = 1) {
  SamplingParams params;
  params.temperature = temperature;
  params.seed = seed;
  return params;
}

// 1,000 distinct logits in no order.
std::vector<float> Scrambled() {
  std::vector<float> logits(1000);
  for (int i = 0; i < 1000; ++i) logits[i] = 0.01f * static_cast<float>((i * 617) % 1000);
  return logits;
}

TEST(SamplerTest, GreedyPicksTheLargestLogit) { EXPECT_EQ(SampleOne({}, {0.5f, -1, 3, 2.9f}), 2); }

TEST(SamplerTest, GreedyTiesGoToTheLowerId) { EXPECT_EQ(SampleOne({}, {1, 7, 2, 7, 7}), 1); }

// More scores than are searched at a time, and none that fill the last part up.
TEST(SamplerTest, GreedyFindsTheLargestFiniteOfManyLogitsWhereverItStands) {
  std::vector<float> logits(5003);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = -0.01f * static_cast<float>((i * 617) % 1000) - 1;
  for (const size_t i : {7, 1023, 2048, 4999}) logits[i] = i % 2 == 0 ? kNan : kInf;
  for (const int32_t place : {0, 8, 1022, 1024, 3071, 4095, 4096, 5000, 5002}) {
    std::vector<float> marked = logits;
    marked[place] = marked.back() = -0.5f;
    EXPECT_EQ(SampleOne({}, marked), place);
  }
}

TEST(SamplerTest, VocabularyOfOneAlwaysYieldsIt) {
  EXPECT_EQ(SampleOne({}, {-3}), 0);
  EXPECT_EQ(SampleOne(At(1), {-3}), 0);
}

TEST(SamplerTest, NeverPicksLogitsThatAreNotFinite) {
  const std::vector<float> logits = {kNan, kInf, 1, -kInf, 2, kNan};
  EXPECT_EQ(SampleOne({}, logits), 4);
  EXPECT_EQ(Drawn(At(1), logits), (std::set<int32_t>{2, 4}));
  SamplingParams filtered = At(1);
  filtered.top_k = 4;
  filtered.top_p = 0.999f;
  EXPECT_EQ(Drawn(filtered, logits), (std::set<int32_t>{2, 4}));
}

TEST(SamplerTest, TokensThatAreNotAllowedAreNeverPickedWhateverTheirLogit) {
  std::vector<float> logits = Scrambled();
  std::vector<uint64_t> allowed((logits.size() + 63) / 64, 0);
  const std::set<int32_t> ids = {0, 63, 64, 500, 999};
  for (const int32_t id : ids) {
    allowed[id / 64] |= uint64_t{1} << (id % 64);
    logits[id] -= 100;
  }
  SamplingParams params = At(50);
  params.logit_bias = {{1, 100}, {63, 3}};
  Sampler sampler(params, 1000);
  std::set<int32_t> drawn;
  for (int i = 0; i < 500; ++i) drawn.insert(Sample(sampler, logits, allowed)->id);
  EXPECT_EQ(drawn, ids);
  Sampler greedy_sampler({}, 1000);
  const auto greedy = Sample(greedy_sampler, logits, allowed);
  EXPECT_EQ(greedy->id,
            *std::max_element(ids.begin(), ids.end(), [&](int a, int b) { return logits[a] < logits[b]; }));
}

TEST(SamplerTest, LogprobsAreAmongTheAllowedTokens) {
  SamplingParams params;
  params.logprobs = 5;
  Sampler sampler(params, 4);
  const std::vector<uint64_t> allowed = {0b1010};
  const auto token = Sample(sampler, Logs({0.5, 0.1, 0.1, 0.3}), allowed);
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->id, 3);
  EXPECT_NEAR(token->chosen.logprob, std::log(0.75), 1e-5);
  ASSERT_EQ(token->top.size(), 2u);
  EXPECT_EQ(token->top[1].id, 1);
  EXPECT_NEAR(token->top[1].logprob, std::log(0.25), 1e-5);
}

TEST(SamplerTest, AllowingEveryTokenChangesNothing) {
  const std::vector<float> logits = Scrambled();
  SamplingParams params = At(0.7f);
  params.top_k = 50;
  params.top_p = 0.9f;
  params.repetition_penalty = 1.2f;
  Sampler free(params, 1000);
  Sampler masked(params, 1000);
  std::vector<uint64_t> allowed(16, ~uint64_t{0});
  allowed[15] = (uint64_t{1} << (1000 - 15 * 64)) - 1;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Sample(free, logits)->id, Sample(masked, logits, allowed)->id);
}

TEST(SamplerTest, FailsWhenNoAllowedLogitIsFinite) {
  const std::vector<uint64_t> allowed = {0b10};
  Sampler sampler({}, 2);
  EXPECT_EQ(Sample(sampler, {1, kNan}, allowed).status().code(), absl::StatusCode::kInternal);
}

TEST(SamplerTest, FailsWhenNoLogitIsFinite) {
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler sampler(At(temperature), 3);
    EXPECT_EQ(Sample(sampler, {kNan, kInf, -kInf}).status().code(), absl::StatusCode::kInternal);
    Sampler of_many(At(temperature), 3000);
    EXPECT_EQ(Sample(of_many, std::vector<float>(3000, kInf)).status().code(), absl::StatusCode::kInternal);
  }
}

TEST(SamplerTest, FailsOnAWrongNumberOfLogits) {
  Sampler sampler({}, 3);
  EXPECT_EQ(Sample(sampler, {1, 2}).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Sample(sampler, {1, 2, 3, 4}).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Sample(sampler, {}).status().code(), absl::StatusCode::kInternal);
}

TEST(SamplerTest, DrawsInProportionToTheSoftmax) {
  const std::vector<double> p = {0.1, 0.2, 0.4, 0.3};
  constexpr int kDraws = 40000;
  const std::map<int32_t, int> counts = Histogram(At(1), Logs(p), kDraws);
  for (int id = 0; id < 4; ++id) {
    // Five standard deviations of a binomial count.
    EXPECT_NEAR(counts.at(id), kDraws * p[id], 5 * std::sqrt(kDraws * p[id] * (1 - p[id])));
  }
}

TEST(SamplerTest, TemperatureRaisesProbabilitiesToItsInverse) {
  // At temperature 0.5 probabilities are squared: 1, 4, 16, 9 of 30.
  constexpr int kDraws = 40000;
  const std::map<int32_t, int> counts = Histogram(At(0.5f), Logs({0.1, 0.2, 0.4, 0.3}), kDraws);
  const double expected[] = {1 / 30., 4 / 30., 16 / 30., 9 / 30.};
  for (int id = 0; id < 4; ++id) {
    EXPECT_NEAR(counts.at(id), kDraws * expected[id], 5 * std::sqrt(kDraws * expected[id]));
  }
}

TEST(SamplerTest, ExtremeTemperaturesStayDefined) {
  EXPECT_EQ(SampleOne(At(std::numeric_limits<float>::denorm_min()), {1, 3, 2}), 1);
  EXPECT_EQ(Drawn(At(100), {0, 0, 0}), (std::set<int32_t>{0, 1, 2}));
  const float max = std::numeric_limits<float>::max();
  EXPECT_EQ(SampleOne(At(1), {-max, max, 0}), 1);
}

TEST(SamplerTest, SameSeedGivesSameTokens) {
  const std::vector<float> logits(1000, 0.0f);
  Sampler a(At(1, 42), 1000), b(At(1, 42), 1000), c(At(1, 43), 1000);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const int32_t id = Sample(a, logits)->id;
    EXPECT_EQ(Sample(b, logits)->id, id);
    differs |= Sample(c, logits)->id != id;
  }
  EXPECT_TRUE(differs);
}

TEST(SamplerTest, RandomSourceIsFixedForAllPlatforms) {
  // With n equal logits the drawn id is floor(n * (x >> 11) / 2^53), x from mt19937_64, whose 10,000th value
  // the C++ standard fixes.
  std::mt19937_64 random(5);
  const std::vector<float> logits(1024, 0.0f);
  Sampler sampler(At(1, 5), 1024);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Sample(sampler, logits)->id, static_cast<int32_t>(random() >> 54));
}

TEST(SamplerTest, TopKKeepsTheKLikeliest) {
  SamplingParams params = At(5);
  params.top_k = 3;
  EXPECT_EQ(Drawn(params, {1, 5, 3, 4, 2}), (std::set<int32_t>{1, 2, 3}));
  params.top_k = 1;
  EXPECT_EQ(Drawn(params, {1, 5, 3, 4, 2}), (std::set<int32_t>{1}));
}

TEST(SamplerTest, TopKTiesGoToTheLowerIds) {
  SamplingParams params = At(1);
  params.top_k = 2;
  EXPECT_EQ(Drawn(params, {1, 4, 4, 4, 4}), (std::set<int32_t>{1, 2}));
  EXPECT_EQ(Drawn(params, std::vector<float>(500, 1.0f)), (std::set<int32_t>{0, 1}));
}

TEST(SamplerTest, TopKOfTheWholeVocabularyFiltersNothing) {
  SamplingParams params = At(1);
  params.top_k = 4;
  EXPECT_EQ(Drawn(params, {0, 0, 0, 0}).size(), 4u);
}

TEST(SamplerTest, TopKFindsTheLikeliestOfManyCandidates) {
  const std::vector<float> logits = Scrambled();
  SamplingParams params = At(100);
  params.top_k = 7;
  for (const int32_t id : Drawn(params, logits)) EXPECT_GT(logits[id], 9.925f);
  EXPECT_EQ(Drawn(params, logits).size(), 7u);
}

TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = Logs({0.1, 0.5, 0.15, 0.25});
  SamplingParams params = At(1);
  params.top_p = 0.45f;
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{1}));
  params.top_p = 0.55f;
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{1, 3}));
  params.top_p = 0.8f;
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{1, 2, 3}));
  params.top_p = 0.95f;
  EXPECT_EQ(Drawn(params, logits).size(), 4u);
}

TEST(SamplerTest, TopPReachedExactlyStopsThere) {
  SamplingParams params = At(1);
  params.top_p = 0.5f;
  EXPECT_EQ(Drawn(params, {0, 0, 0, 0}), (std::set<int32_t>{0, 1}));
}

TEST(SamplerTest, TinyTopPKeepsOneToken) {
  SamplingParams params = At(1);
  params.top_p = 1e-30f;
  EXPECT_EQ(Drawn(params, {2, 5, 5, 1}), (std::set<int32_t>{1}));
}

TEST(SamplerTest, TopPMatchesAFullSortOnFlatAndPeakedDistributions) {
  for (const float temperature : {0.05f, 0.7f, 3.0f, 50.0f}) {
    for (const float top_p : {0.1f, 0.5f, 0.9f, 0.999f}) {
      const std::vector<float> logits = Scrambled();
      std::vector<int32_t> order(logits.size());
      std::iota(order.begin(), order.end(), 0);
      std::sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
      std::vector<double> weights;
      for (const int32_t id : order) {
        weights.push_back(std::exp((double{logits[id]} - logits[order[0]]) / temperature));
      }
      const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
      std::set<int32_t> nucleus;
      double mass = 0;
      for (size_t i = 0; i < order.size() && mass < top_p * total; ++i) {
        nucleus.insert(order[i]);
        mass += weights[i];
      }
      SamplingParams params = At(temperature);
      params.top_p = top_p;
      for (const int32_t id : Drawn(params, logits, 300))
        EXPECT_TRUE(nucleus.contains(id)) << top_p << " " << id;
    }
  }
}

TEST(SamplerTest, TopPCountsOnlyWhatTopKLeft) {
  // Of 0.4, 0.3, 0.2, 0.1 the two likeliest renormalise to 0.57 and 0.43: 0.5 is reached by the first alone.
  SamplingParams params = At(1);
  params.top_k = 2;
  params.top_p = 0.5f;
  EXPECT_EQ(Drawn(params, Logs({0.4, 0.3, 0.2, 0.1})), (std::set<int32_t>{0}));
}

TEST(SamplerTest, MinPDropsTokensFarBelowTheLikeliest) {
  const std::vector<float> logits = Logs({0.6, 0.2, 0.15, 0.05});
  SamplingParams params = At(1);
  params.min_p = 0.3f;
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{0, 1}));
  params.min_p = 0.2f;
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{0, 1, 2}));
  params.min_p = 1;
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{0}));
}

TEST(SamplerTest, MinPOfOneKeepsTies) {
  SamplingParams params = At(1);
  params.min_p = 1;
  EXPECT_EQ(Drawn(params, {2, 1, 2}), (std::set<int32_t>{0, 2}));
}

TEST(SamplerTest, MinPAppliesAfterTopKAndTopP) {
  const std::vector<float> logits = Logs({0.5, 0.3, 0.15, 0.05});
  SamplingParams params = At(1);
  params.top_p = 0.9f;  // 0, 1, 2
  params.min_p = 0.5f;  // 0, 1
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{0, 1}));
  params.top_k = 3;
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{0, 1}));
  params.top_k = 1;
  EXPECT_EQ(Drawn(params, logits), (std::set<int32_t>{0}));
}

TEST(SamplerTest, FilteredDrawsKeepTheirProportions) {
  SamplingParams params = At(1);
  params.top_k = 3;
  params.top_p = 0.99f;
  constexpr int kDraws = 40000;
  const std::map<int32_t, int> counts = Histogram(params, Logs({0.1, 0.2, 0.3, 0.4}), kDraws);
  ASSERT_EQ(counts.size(), 3u);
  for (const int32_t id : {1, 2, 3}) {
    const double p = (id + 1) / 9.0;
    EXPECT_NEAR(counts.at(id), kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)));
  }
}

TEST(SamplerTest, BiasMovesLogits) {
  SamplingParams params;
  params.logit_bias = {{0, 5.0f}, {2, -100.0f}};
  EXPECT_EQ(SampleOne(params, {1, 3, 50}), 0);
}

TEST(SamplerTest, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplingParams params;
  params.repetition_penalty = 2;
  Sampler positive(params, 3);
  positive.ObservePrompt({0});
  EXPECT_EQ(Sample(positive, {3, 1.6f, 1})->id, 1);  // 3 / 2 < 1.6
  Sampler negative(params, 3);
  negative.ObservePrompt({0});
  EXPECT_EQ(Sample(negative, {-1, -1.9f, -9})->id, 1);  // -1 * 2 < -1.9
}

TEST(SamplerTest, RepetitionPenaltyCountsGeneratedTokens) {
  SamplingParams params;
  params.repetition_penalty = 2;
  Sampler sampler(params, 2);
  EXPECT_EQ(Sample(sampler, {3, 2})->id, 0);
  EXPECT_EQ(Sample(sampler, {3, 2})->id, 1);
  EXPECT_EQ(Sample(sampler, {3, 2})->id, 0);  // both halved, once only
}

TEST(SamplerTest, BiasComesBeforeTheRepetitionPenalty) {
  SamplingParams params;
  params.repetition_penalty = 2;
  params.logit_bias = {{0, 4.0f}};
  Sampler sampler(params, 2);
  sampler.ObservePrompt({0});
  EXPECT_EQ(Sample(sampler, {1, 2.6f})->id, 1);  // (1 + 4) / 2 < 2.6 < 1 / 2 + 4
}

TEST(SamplerTest, IgnoresPromptIdsOutsideTheVocabulary) {
  SamplingParams params;
  params.repetition_penalty = 2;
  Sampler sampler(params, 2);
  sampler.ObservePrompt({-1, 2, 1'000'000});
  EXPECT_EQ(Sample(sampler, {1, 2})->id, 1);
}

TEST(SamplerTest, PromptDoesNotCountForFrequencyAndPresence) {
  SamplingParams params;
  params.frequency_penalty = 10;
  params.presence_penalty = 10;
  Sampler sampler(params, 2);
  sampler.ObservePrompt({1, 1});
  EXPECT_EQ(Sample(sampler, {1, 2})->id, 1);
  EXPECT_EQ(Sample(sampler, {1, 2})->id, 0);
}

TEST(SamplerTest, FrequencyPenaltyGrowsWithEveryOccurrence) {
  SamplingParams params;
  params.frequency_penalty = 1;
  Sampler sampler(params, 2);
  const std::vector<float> logits = {2.5f, 0};
  for (const int32_t expected : {0, 0, 0, 1, 0}) EXPECT_EQ(Sample(sampler, logits)->id, expected);
}

TEST(SamplerTest, PresencePenaltyCountsOnce) {
  SamplingParams params;
  params.presence_penalty = 1;
  Sampler sampler(params, 2);
  const std::vector<float> logits = {2.5f, 0};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(Sample(sampler, logits)->id, 0);
}

TEST(SamplerTest, ExtremePenaltiesKeepLogitsFinite) {
  SamplingParams params;
  params.repetition_penalty = 1e-38f;  // 1000 / 1e-38 is beyond f32
  Sampler sampler(params, 2);
  sampler.ObservePrompt({0});
  EXPECT_EQ(Sample(sampler, {1000, 2000})->id, 0);
}

TEST(SamplerTest, ReportsNoLogprobsUnlessAsked) {
  Sampler sampler({}, 2);
  const SampledToken token = *Sample(sampler, {1, 2});
  EXPECT_EQ(token.chosen.id, 1);
  EXPECT_EQ(token.chosen.logprob, 0);
  EXPECT_TRUE(token.top.empty());
}

TEST(SamplerTest, LogprobsAreThoseOfThePlainSoftmax) {
  SamplingParams params;
  params.logprobs = 3;
  params.logit_bias = {{3, 50.0f}};
  params.top_k = 1;
  Sampler sampler(params, 4);
  const SampledToken token = *Sample(sampler, Logs({0.1, 0.5, 0.25, 0.15}));
  EXPECT_EQ(token.id, 3);  // the bias decides, but logprobs are from before it
  EXPECT_EQ(token.chosen.id, 3);
  EXPECT_NEAR(token.chosen.logprob, std::log(0.15), 1e-6);
  ASSERT_EQ(token.top.size(), 3u);
  EXPECT_EQ(token.top[0].id, 1);
  EXPECT_NEAR(token.top[0].logprob, std::log(0.5), 1e-6);
  EXPECT_EQ(token.top[1].id, 2);
  EXPECT_EQ(token.top[2].id, 3);
}

TEST(SamplerTest, LogprobsBreakTiesByIdAndSkipWhatIsNotFinite) {
  SamplingParams params;
  params.logprobs = 20;
  Sampler sampler(params, 5);
  const SampledToken token = *Sample(sampler, {1, kNan, 1, kInf, 1});
  ASSERT_EQ(token.top.size(), 3u);
  EXPECT_EQ(token.top[0].id, 0);
  EXPECT_EQ(token.top[1].id, 2);
  EXPECT_EQ(token.top[2].id, 4);
  EXPECT_NEAR(token.chosen.logprob, -std::log(3.0), 1e-6);
}

TEST(SamplerTest, ZeroLogprobsReportOnlyTheChosenToken) {
  SamplingParams params;
  params.logprobs = 0;
  Sampler sampler(params, 2);
  const SampledToken token = *Sample(sampler, {0, 0});
  EXPECT_NEAR(token.chosen.logprob, std::log(0.5), 1e-6);
  EXPECT_TRUE(token.top.empty());
}

TEST(SamplerTest, LogprobsOfHugeLogitsStayFinite) {
  SamplingParams params;
  params.logprobs = 1;
  Sampler sampler(params, 2);
  EXPECT_NEAR(Sample(sampler, {1e30f, 1e30f})->chosen.logprob, -std::log(2.0), 1e-6);
}

struct InvalidParams {
  const char* message;
  void (*change)(SamplingParams&);
};

TEST(SamplingParamsTest, NamesTheFieldThatIsOutOfRange) {
  const InvalidParams cases[] = {
      {"temperature: must be within 0..100, got -1", [](SamplingParams& p) { p.temperature = -1; }},
      {"temperature: must be within 0..100, got 101", [](SamplingParams& p) { p.temperature = 101; }},
      {"temperature: must be within 0..100, got nan", [](SamplingParams& p) { p.temperature = kNan; }},
      {"temperature: must be within 0..100, got inf", [](SamplingParams& p) { p.temperature = kInf; }},
      {"top_k: must be within 0..10, got -1", [](SamplingParams& p) { p.top_k = -1; }},
      {"top_k: must be within 0..10, got 11", [](SamplingParams& p) { p.top_k = 11; }},
      {"top_p: must be above 0 and at most 1, got 0", [](SamplingParams& p) { p.top_p = 0; }},
      {"top_p: must be above 0 and at most 1, got 1.5", [](SamplingParams& p) { p.top_p = 1.5f; }},
      {"top_p: must be above 0 and at most 1, got nan", [](SamplingParams& p) { p.top_p = kNan; }},
      {"min_p: must be within 0..1, got -0.5", [](SamplingParams& p) { p.min_p = -0.5f; }},
      {"min_p: must be within 0..1, got nan", [](SamplingParams& p) { p.min_p = kNan; }},
      {"repetition_penalty: must be above 0 and at most 100, got 0",
       [](SamplingParams& p) { p.repetition_penalty = 0; }},
      {"repetition_penalty: must be above 0 and at most 100, got 101",
       [](SamplingParams& p) { p.repetition_penalty = 101; }},
      {"repetition_penalty: must be above 0 and at most 100, got nan",
       [](SamplingParams& p) { p.repetition_penalty = kNan; }},
      {"frequency_penalty: must be within -100..100, got 100.5",
       [](SamplingParams& p) { p.frequency_penalty = 100.5f; }},
      {"presence_penalty: must be within -100..100, got -100.5",
       [](SamplingParams& p) { p.presence_penalty = -100.5f; }},
      {"logit_bias: token id 10 is outside the vocabulary of 10",
       [](SamplingParams& p) {
         p.logit_bias = {{10, 1.0f}};
       }},
      {"logit_bias: token id -1 is outside the vocabulary of 10",
       [](SamplingParams& p) {
         p.logit_bias = {{-1, 1.0f}};
       }},
      {"logit_bias: token id 3 appears twice",
       [](SamplingParams& p) {
         p.logit_bias = {{3, 1.0f}, {3, 2.0f}};
       }},
      {"logit_bias: token id 3: must be within -100..100, got nan",
       [](SamplingParams& p) {
         p.logit_bias = {{3, kNan}};
       }},
      {"logprobs: must be within -1..20, got 21", [](SamplingParams& p) { p.logprobs = 21; }},
      {"logprobs: must be within -1..20, got -2", [](SamplingParams& p) { p.logprobs = -2; }},
  };
  for (const InvalidParams& c : cases) {
    SamplingParams params;
    c.change(params);
    const absl::Status status = ValidateSamplingParams(params, 10);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_EQ(status.message(), c.message);
  }
}

TEST(SamplingParamsTest, AcceptsDefaultsAndBorders) {
  EXPECT_TRUE(ValidateSamplingParams({}, 10).ok());
  SamplingParams params;
  params.temperature = 100;
  params.top_k = 10;
  params.top_p = std::numeric_limits<float>::denorm_min();
  params.min_p = 1;
  params.repetition_penalty = 100;
  params.frequency_penalty = -100;
  params.presence_penalty = 100;
  params.logit_bias = {{0, -100.0f}, {9, 100.0f}};
  params.logprobs = 20;
  EXPECT_TRUE(ValidateSamplingParams(params, 10).ok());
}

TEST(SamplingParamsTest, LimitsTheNumberOfBiases) {
  SamplingParams params;
  for (int32_t id = 0; id < 1024; ++id) params.logit_bias.push_back({id, 1.0f});
  EXPECT_TRUE(ValidateSamplingParams(params, 2000).ok());
  params.logit_bias.push_back({1024, 1.0f});
  EXPECT_EQ(ValidateSamplingParams(params, 2000).message(), "logit_bias: 1025 entries, at most 1024");
}

}  // namespace
}  // namespace memgate
