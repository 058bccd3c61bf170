// Every token that a sampler picks, against plain loops in double precision over a full sort.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/kernels/parallel.h"
#include "engine/sampling/sampler.h"
#include "tests/kernels/simd_targets.h"

namespace memgate {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Entry {
  int32_t id;
  float logit;
  double weight;
};

// A token, and how close the numbers that decided came to another decision, in shares of all weight.
struct Picked {
  int32_t id = -1;
  double margin = 1;

  void Decide(double share) { margin = std::min(margin, std::abs(share)); }
};

double Mass(const std::vector<Entry>& entries) {
  double mass = 0;
  for (const Entry& entry : entries) mass += entry.weight;
  return mass;
}

std::vector<Entry> ByLikelihood(const std::vector<float>& logits) {
  std::vector<Entry> entries;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (std::isfinite(logits[id])) entries.push_back({static_cast<int32_t>(id), logits[id], 0});
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.logit > b.logit; });
  return entries;
}

// What sampler.h says, for the random number u and entries by likelihood, of which there are some.
Picked PlainPick(const SamplingParams& params, std::vector<Entry> entries, double u) {
  Picked picked;
  for (Entry& entry : entries) {
    entry.weight = std::exp((double{entry.logit} - entries[0].logit) / params.temperature);
  }
  const bool filters = params.top_k > 0 || params.top_p < 1 || params.min_p > 0;
  if (params.top_k > 0 && entries.size() > static_cast<size_t>(params.top_k)) entries.resize(params.top_k);
  if (params.top_p < 1) {
    const double total = Mass(entries), target = params.top_p * total;
    size_t count = 0;
    for (double mass = 0; count < entries.size() && mass < target; ++count) {
      mass += entries[count].weight;
      picked.Decide((mass - target) / total);
    }
    entries.resize(count);
  }
  for (const Entry& entry : entries) {
    if (params.min_p > 0) picked.Decide(entry.weight / params.min_p - 1);
  }
  std::erase_if(entries, [&](const Entry& entry) { return entry.weight < params.min_p; });
  if (!filters) {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.id < b.id; });
  }
  const double total = Mass(entries), target = u * total;
  double mass = 0;
  for (const Entry& entry : entries) {
    mass += entry.weight;
    picked.Decide((mass - target) / total);
    picked.id = entry.id;
    if (mass > target) break;
  }
  return picked;
}

// A bell, as of a language model; every fifth logit ties with others, every eleventh is not finite.
std::vector<float> Logits(int size, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(size);
  for (int i = 0; i < size; ++i) {
    logits[i] = normal(random);
    if (i % 5 == 2) logits[i] = std::round(logits[i]);
    if (i % 11 == 7) logits[i] = i % 3 == 0 ? kNan : i % 3 == 1 ? kInf : -kInf;
  }
  return logits;
}

SamplingParams Params(float temperature, int top_k = 0, float top_p = 1, float min_p = 0) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  params.seed = 11;
  return params;
}

std::vector<SamplingParams> AllParams() {
  std::vector<SamplingParams> all;
  for (const float temperature : {0.05f, 0.6f, 1.0f, 3.0f, 60.0f}) {
    for (const float top_p : {1.0f, 0.1f, 0.9f, 0.995f}) {
      for (const float min_p : {0.0f, 0.02f, 0.7f}) {
        for (const int top_k : {0, 1, 7, 40, 900}) all.push_back(Params(temperature, top_k, top_p, min_p));
      }
    }
  }
  return all;
}

std::string Describe(const SamplingParams& params, size_t size) {
  return std::to_string(size) + " logits at " + std::to_string(params.temperature) + ", top_k " +
         std::to_string(params.top_k) + ", top_p " + std::to_string(params.top_p) + ", min_p " +
         std::to_string(params.min_p);
}

// Draws of one sampler. Returns how many were too close to call: weights are in single precision.
int CompareDraws(const SamplingParams& params, std::vector<float> logits, int draws) {
  constexpr double kMargin = 1e-5;
  const std::vector<Entry> entries = ByLikelihood(logits);
  Sampler sampler(params, static_cast<int>(logits.size()));
  std::mt19937_64 random(params.seed);
  int close = 0;
  for (int i = 0; i < draws; ++i) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    const absl::StatusOr<SampledToken> token = sampler.Sample(absl::MakeSpan(logits));
    if (!token.ok()) {
      ADD_FAILURE() << token.status();
      return draws;
    }
    const Picked expected = PlainPick(params, entries, u);
    if (expected.margin < kMargin) {
      ++close;
    } else {
      EXPECT_EQ(token->id, expected.id) << Describe(params, logits.size()) << ", u " << u;
    }
  }
  return close;
}

// Around one block of the search, and many of them.
constexpr int kSizes[] = {1, 2, 6, 63, 511, 512, 513, 1025, 5003};

TEST(SamplerReferenceTest, EveryTokenIsThatOfPlainLoopsOnEveryTarget) {
  int draws = 0, close = 0;
  OnEverySimdTarget([&] {
    for (const int size : kSizes) {
      const std::vector<float> logits = Logits(size, size);
      for (const SamplingParams& params : AllParams()) {
        if (params.top_k > size) continue;
        constexpr int kDraws = 4;
        draws += kDraws;
        close += CompareDraws(params, logits, kDraws);
      }
    }
  });
  EXPECT_LT(close, draws / 10) << "of " << draws << " draws";
}

TEST(SamplerReferenceTest, FlatDistributionsAreDrawnFromToTheirEnds) {
  OnEverySimdTarget([] {
    const std::vector<float> logits(1300, -4.5f);
    EXPECT_LT(CompareDraws(Params(1), logits, 200), 20);
    EXPECT_LT(CompareDraws(Params(1, 0, 0.7701f), logits, 200), 20);
    EXPECT_LT(CompareDraws(Params(1, 600), logits, 200), 20);
  });
}

// A turn alone may use all threads, one of many has one.
TEST(SamplerReferenceTest, ThreadsChangeNoToken) {
  const std::vector<float> logits = Logits(150'001, 3);
  for (const SamplingParams& params :
       {Params(0), Params(0.8f), Params(0.6f, 0, 0.9f), Params(1, 0, 1, 0.05f), Params(1, 40, 0.95f)}) {
    std::vector<std::vector<int32_t>> drawn;
    for (const int threads : {1, 2, 5}) {
      ScopedComputeThreads scope(threads);
      SamplingParams with_logprobs = params;
      with_logprobs.logprobs = 3;
      Sampler sampler(with_logprobs, static_cast<int>(logits.size()));
      std::vector<int32_t>& ids = drawn.emplace_back();
      for (int i = 0; i < 20; ++i) {
        std::vector<float> copy = logits;
        const auto token = sampler.Sample(absl::MakeSpan(copy));
        ASSERT_TRUE(token.ok()) << token.status();
        ids.push_back(token->id);
        for (const ScoredToken& top : token->top) ids.push_back(top.id);
      }
    }
    EXPECT_EQ(drawn[0], drawn[1]) << Describe(params, logits.size());
    EXPECT_EQ(drawn[0], drawn[2]) << Describe(params, logits.size());
  }
}

TEST(SamplerReferenceTest, LogprobsAreThoseOfPlainLoops) {
  OnEverySimdTarget([] {
    for (const int size : kSizes) {
      std::vector<float> logits = Logits(size, size + 1);
      SamplingParams params = Params(0);
      params.logprobs = 20;
      std::vector<Entry> expected = ByLikelihood(logits);
      double total = 0;
      for (const Entry& entry : expected) total += std::exp(double{entry.logit} - expected[0].logit);
      Sampler sampler(params, size);
      const auto token = sampler.Sample(absl::MakeSpan(logits));
      ASSERT_TRUE(token.ok()) << token.status();
      ASSERT_EQ(token->top.size(), std::min<size_t>(20, expected.size()));
      for (size_t i = 0; i < token->top.size(); ++i) {
        EXPECT_EQ(token->top[i].id, expected[i].id) << size;
        const double logprob = double{expected[i].logit} - expected[0].logit - std::log(total);
        EXPECT_NEAR(token->top[i].logprob, logprob, 2e-6) << size;
      }
    }
  });
}

TEST(SamplerReferenceTest, LogitsAreAsBeforeButForThoseThatAreNotAllowed) {
  const std::vector<float> before = {1, -2, 0.1f, 4, 2.5f};
  std::vector<float> logits = before;
  SamplingParams params = Params(1);
  params.logit_bias = {{0, 3.3f}, {2, -1}};
  params.repetition_penalty = 1.3f;
  params.frequency_penalty = 0.7f;
  Sampler sampler(params, 5);
  sampler.ObservePrompt({0, 1, 2});
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(sampler.Sample(absl::MakeSpan(logits)).ok());
    ASSERT_EQ(logits, before);
  }
  const std::vector<uint64_t> allowed = {0b00111};
  ASSERT_TRUE(sampler.Sample(absl::MakeSpan(logits), allowed).ok());
  EXPECT_EQ(logits, (std::vector<float>{1, -2, 0.1f, -kInf, -kInf}));
}

}  // namespace
}  // namespace memgate
