#include "engine/kernels/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"

namespace memgate {
namespace {

using reference::RandomFloats;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();

// One, below and around every vector length (4, 8, 16 lanes, once and twice unrolled), and larger odd sizes.
constexpr int kSizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 100, 129, 257, 1000, 4097};

// Scores within [-20, 20); every seventh is not finite, of each kind.
std::vector<float> Scores(int n) {
  std::vector<float> scores = RandomFloats(n, n);
  for (int i = 0; i < n; ++i) {
    scores[i] *= 20.0f;
    if (i % 7 == 3) scores[i] = i % 3 == 0 ? kNan : i % 3 == 1 ? kInfinity : -kInfinity;
  }
  return scores;
}

float PlainLargest(const std::vector<float>& scores) {
  float largest = -kInfinity;
  for (const float score : scores) {
    if (std::isfinite(score) && score > largest) largest = score;
  }
  return largest;
}

double PlainExponent(const SoftmaxScale& scale, float score) {
  return (double{score} - scale.largest) / scale.temperature;
}

TEST(SoftmaxTest, LargestFiniteIsThatOfAPlainLoop) {
  OnEverySimdTarget([] {
    for (const int n : kSizes) {
      std::vector<float> scores = Scores(n);
      EXPECT_EQ(LargestFinite(scores.data(), n), PlainLargest(scores)) << n;
      scores[n - 1] = 21.0f;  // in what fills no vector
      EXPECT_EQ(LargestFinite(scores.data(), n), 21.0f) << n;
      scores[0] = kMax;
      EXPECT_EQ(LargestFinite(scores.data(), n), kMax) << n;
    }
  });
}

TEST(SoftmaxTest, NothingFiniteHasNoLargest) {
  OnEverySimdTarget([] {
    for (const int n : kSizes) {
      for (const float none : {kNan, kInfinity, -kInfinity}) {
        EXPECT_EQ(LargestFinite(std::vector<float>(n, none).data(), n), -kInfinity) << n << " of " << none;
      }
    }
    EXPECT_EQ(LargestFinite(nullptr, 0), -kInfinity);
  });
}

TEST(SoftmaxTest, WeightsAreThoseOfPlainLoopsInDoublePrecision) {
  OnEverySimdTarget([] {
    for (const int n : kSizes) {
      for (const float temperature : {0.3f, 0.6f, 1.0f, 7.0f, 100.0f}) {
        std::vector<float> scores = Scores(n);
        scores[n / 2] = 19.0f;
        const SoftmaxScale scale = {PlainLargest(scores), temperature};
        std::vector<float> weights(n + 1, -7.0f);
        SoftmaxWeights(scale, scores.data(), n, weights.data());
        double total = 0;
        for (int i = 0; i < n; ++i) {
          const double exponent = PlainExponent(scale, scores[i]);
          if (!std::isfinite(scores[i]) || exponent < kLeastSoftmaxExponent - 1e-4) {
            EXPECT_EQ(weights[i], 0.0f) << scores[i];
          } else if (exponent > kLeastSoftmaxExponent + 1e-4) {
            const double expected = std::exp(exponent);
            EXPECT_NEAR(weights[i], expected, 0x1p-22 * (1 - exponent) * expected) << exponent;
          }
          total += weights[i];
        }
        EXPECT_EQ(weights[n], -7.0f) << "wrote past the output";
        EXPECT_NEAR(SoftmaxTotal(scale, scores.data(), n), total, 1e-12 * total) << n;
      }
    }
  });
}

// At every place: what fills no vector takes another path.
TEST(SoftmaxTest, TheLargestWeighsExactlyOne) {
  OnEverySimdTarget([] {
    for (const float largest : {-3.0f, 0.0f, 17.25f, kMax, -kMax}) {
      for (const float temperature : {std::numeric_limits<float>::denorm_min(), 1e-30f, 0.7f, 100.0f}) {
        const std::vector<float> scores(37, largest);
        std::vector<float> weights(37);
        SoftmaxWeights({largest, temperature}, scores.data(), 37, weights.data());
        for (const float weight : weights) EXPECT_EQ(weight, 1.0f) << largest << " at " << temperature;
        EXPECT_EQ(SoftmaxTotal({largest, temperature}, scores.data(), 37), 37.0);
      }
    }
  });
}

TEST(SoftmaxTest, WeightsAreNeverSubnormal) {
  OnEverySimdTarget([] {
    std::vector<float> scores;
    for (float score = 0; score > -120; score -= 0.03125f) scores.push_back(score);
    std::vector<float> weights(scores.size());
    const int64_t n = static_cast<int64_t>(scores.size());
    SoftmaxWeights({0, 1}, scores.data(), n, weights.data());
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_EQ(weights[i] > 0, scores[i] >= kLeastSoftmaxExponent) << scores[i];
      EXPECT_TRUE(weights[i] == 0 || std::isnormal(weights[i])) << scores[i];
    }
  });
}

// A difference beyond the range of floats, and an exponent beyond it.
TEST(SoftmaxTest, ScoresFarBelowTheLargestWeighNothing) {
  OnEverySimdTarget([] {
    std::vector<float> scores(19, -kMax), weights(19, 1.0f);
    scores[5] = kMax;
    for (const float temperature : {1e-38f, 1.0f, 100.0f}) {
      SoftmaxWeights({kMax, temperature}, scores.data(), 19, weights.data());
      for (int i = 0; i < 19; ++i) EXPECT_EQ(weights[i], i == 5 ? 1.0f : 0.0f);
      EXPECT_EQ(SoftmaxTotal({kMax, temperature}, scores.data(), 19), 1.0);
    }
    EXPECT_EQ(SoftmaxTotal({kMax, 1}, nullptr, 0), 0.0);
  });
}

TEST(SoftmaxTest, PlacesAboveAreThoseOfAPlainLoop) {
  OnEverySimdTarget([] {
    for (const int n : kSizes) {
      const std::vector<float> scores = Scores(n);
      for (const float bar : {-kInfinity, -kMax, -5.0f, scores[n / 2], 15.0f, 20.0f, kMax, kInfinity, kNan}) {
        std::vector<int32_t> expected;
        for (int i = 0; i < n; ++i) {
          if (std::isfinite(scores[i]) && scores[i] > bar) expected.push_back(i);
        }
        std::vector<int32_t> places(n + 1, -7);
        const int64_t count = PlacesAbove(bar, scores.data(), n, places.data());
        EXPECT_EQ(places[n], -7) << "wrote past the output";
        places.resize(count);
        EXPECT_EQ(places, expected) << n << " above " << bar;
      }
    }
  });
}

}  // namespace
}  // namespace memgate
