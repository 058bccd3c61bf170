#include "engine/sampling/log_probability.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace memgate {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(LogProbabilityTest, IsTheLogarithmOfTheSoftmax) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  for (const int size : {1, 2, 7, 261}) {
    std::vector<float> logits(size);
    for (float& logit : logits) logit = normal(random);
    long double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<long double>(logit));
    for (int id = 0; id < size; ++id) {
      const long double probability = std::exp(static_cast<long double>(logits[id])) / total;
      EXPECT_NEAR(LogProbability(logits, id), static_cast<double>(std::log(probability)), 1e-12);
    }
  }
}

TEST(LogProbabilityTest, LogitsBeyondTheRangeOfExpKeepTheirDifferences) {
  const std::vector<float> huge = {1e6f, 1e6f - 1};
  EXPECT_NEAR(LogProbability(huge, 1), -1 - std::log1p(std::exp(-1.0)), 1e-12);
  const std::vector<float> apart = {1e30f, -1e30f};
  EXPECT_DOUBLE_EQ(LogProbability(apart, 0), 0);
  EXPECT_DOUBLE_EQ(LogProbability(apart, 1), -2.0 * double{1e30f});
}

TEST(LogProbabilityTest, ImpossibleTokensTakeNoShare) {
  const std::vector<float> logits = {-kInfinity, 2, 2};
  EXPECT_NEAR(LogProbability(logits, 1), -std::log(2.0), 1e-15);
  EXPECT_EQ(LogProbability(logits, 0), -std::numeric_limits<double>::infinity());
}

TEST(LogProbabilityTest, BrokenLogitsGiveNoFiniteNumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(std::isfinite(LogProbability(std::vector<float>{1, nan, 2}, 0)));
  EXPECT_FALSE(std::isfinite(LogProbability(std::vector<float>{nan, 1, 2}, 1)));
  EXPECT_FALSE(std::isfinite(LogProbability(std::vector<float>{1, kInfinity}, 0)));
  EXPECT_FALSE(std::isfinite(LogProbability(std::vector<float>(3, -kInfinity), 0)));
}

}  // namespace
}  // namespace memgate
