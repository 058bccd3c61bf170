#include "engine/kernels/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"
#include "tests/reference/operators.h"

namespace memgate {
namespace {

using reference::RandomFloats;
using reference::RelativeError;
using reference::ToDouble;

// One, below and around every vector length (4, 8, 16 lanes, once and twice unrolled), and larger odd sizes.
constexpr int kSizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 100, 129, 257, 1000, 4097};
constexpr double kTolerance = 2e-6;

TEST(ElementwiseTest, RunsOnMoreThanOneSimdTarget) {
#if defined(__x86_64__)
  EXPECT_GE(OnEverySimdTarget([] {}), 2);  // the baseline and at least one wider
#else
  EXPECT_GE(OnEverySimdTarget([] {}), 1);
#endif
}

TEST(ElementwiseTest, RmsNormEqualsPlainLoops) {
  OnEverySimdTarget([] {
    for (const int n : kSizes) {
      const std::vector<float> x = RandomFloats(n, n);
      const std::vector<float> weight = RandomFloats(n + 1, n);
      std::vector<float> out(n);
      RmsNorm(x.data(), weight.data(), 1e-5f, n, out.data());
      const auto expected = reference::RmsNorm(ToDouble(x), ToDouble(weight), 1e-5f);
      EXPECT_LT(RelativeError(out, expected), kTolerance) << n;
    }
  });
}

TEST(ElementwiseTest, RmsNormOfZerosIsZero) {
  OnEverySimdTarget([] {
    const std::vector<float> x(19, 0.0f), weight(19, 3.0f);
    std::vector<float> out(19, 1.0f);
    RmsNorm(x.data(), weight.data(), 1e-5f, 19, out.data());
    for (const float value : out) EXPECT_EQ(value, 0.0f);
  });
}

TEST(ElementwiseTest, RmsNormMayWriteOverItsInput) {
  OnEverySimdTarget([] {
    std::vector<float> x = RandomFloats(1, 37);
    const std::vector<float> weight = RandomFloats(2, 37);
    std::vector<float> out(37);
    RmsNorm(x.data(), weight.data(), 1e-5f, 37, out.data());
    RmsNorm(x.data(), weight.data(), 1e-5f, 37, x.data());
    EXPECT_EQ(x, out);
  });
}

TEST(ElementwiseTest, ActivateMultiplyEqualsPlainLoops) {
  OnEverySimdTarget([] {
    for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
      for (const int n : kSizes) {
        std::vector<float> gate = RandomFloats(n, n);
        for (float& g : gate) g *= 20.0f;
        const std::vector<float> up = RandomFloats(n + 1, n);
        std::vector<float> out(n);
        ActivateMultiply(activation, gate.data(), up.data(), n, out.data());
        EXPECT_LT(RelativeError(out, reference::ActivateMultiply(activation, ToDouble(gate), ToDouble(up))),
                  kTolerance)
            << n;
      }
    }
  });
}

TEST(ElementwiseTest, SoftCapEqualsPlainLoops) {
  OnEverySimdTarget([] {
    for (const int n : kSizes) {
      std::vector<float> x = RandomFloats(n, n);
      for (float& value : x) value *= 100.0f;
      for (const float cap : {0.5f, 30.0f, 1e4f}) {
        reference::Vector expected;
        for (const float value : x) expected.push_back(double{cap} * std::tanh(value / double{cap}));
        std::vector<float> out(n);
        SoftCap(cap, x.data(), n, out.data());
        EXPECT_LT(RelativeError(out, expected), kTolerance) << n << " " << cap;
        std::vector<float> in_place = x;
        SoftCap(cap, in_place.data(), n, in_place.data());
        EXPECT_EQ(in_place, out);
      }
    }
  });
}

// What is broken stays visible, and what is large does not break.
TEST(ElementwiseTest, SoftCapOfExtremeInputs) {
  OnEverySimdTarget([] {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (int at = 0; at < 19; ++at) {
      std::vector<float> x(19, 1e30f), out(19);
      x[at] = at % 2 == 0 ? kInfinity : std::numeric_limits<float>::quiet_NaN();
      SoftCap(30.0f, x.data(), 19, out.data());
      for (int i = 0; i < 19; ++i) {
        if (i == at) {
          EXPECT_TRUE(std::isnan(out[i]));
        } else {
          EXPECT_EQ(out[i], 30.0f);
        }
      }
    }
  });
}

TEST(ElementwiseTest, MultiplyScalesInPlace) {
  std::vector<float> x = {1.0f, -2.0f, 0.5f};
  Multiply(3.0f, 3, x.data());
  EXPECT_EQ(x, (std::vector<float>{3.0f, -6.0f, 1.5f}));
}

TEST(ElementwiseTest, ActivationsOfExtremeInputsAreFinite) {
  OnEverySimdTarget([] {
    const std::vector<float> gate = {-1e30f, -200.0f, -89.0f, -88.0f, 0.0f, -0.0f, 88.0f, 200.0f, 1e30f,
                                     -1e30f, -200.0f, -89.0f, -88.0f, 0.0f, -0.0f, 88.0f, 200.0f};
    const std::vector<float> up(gate.size(), 1.0f);
    std::vector<float> out(gate.size());
    for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
      ActivateMultiply(activation, gate.data(), up.data(), static_cast<int64_t>(gate.size()), out.data());
      for (size_t i = 0; i < gate.size(); ++i) {
        EXPECT_TRUE(std::isfinite(out[i])) << gate[i] << " becomes " << out[i];
        EXPECT_NEAR(out[i], gate[i] > 0 ? gate[i] : 0.0f, 1e-30f + 1e-6f * std::abs(gate[i])) << gate[i];
      }
    }
  });
}

TEST(ElementwiseTest, DotEqualsPlainLoops) {
  OnEverySimdTarget([] {
    for (const int n : kSizes) {
      const std::vector<float> x = RandomFloats(n, n);
      const std::vector<float> y = RandomFloats(n + 1, n);
      EXPECT_NEAR(Dot(x.data(), y.data(), n), reference::Dot(ToDouble(x), ToDouble(y)), 1e-6 * n) << n;
    }
    EXPECT_EQ(Dot(nullptr, nullptr, 0), 0.0f);
  });
}

TEST(ElementwiseTest, ScaledAddTouchesExactlyItsElements) {
  OnEverySimdTarget([] {
    for (const int n : kSizes) {
      const std::vector<float> x = RandomFloats(n, n + 1);
      const std::vector<float> before = RandomFloats(n + 1, n + 1);
      std::vector<float> y = before;
      ScaledAdd(0.37f, x.data(), n, y.data());
      for (int i = 0; i < n; ++i) EXPECT_NEAR(y[i], before[i] + 0.37 * x[i], 2e-7) << n << " " << i;
      EXPECT_EQ(y[n], before[n]) << n;
      y = before;
      AddInPlace(x.data(), n, y.data());
      for (int i = 0; i < n; ++i) EXPECT_EQ(y[i], before[i] + x[i]) << n << " " << i;
      EXPECT_EQ(y[n], before[n]) << n;
    }
  });
}

}  // namespace
}  // namespace memgate
