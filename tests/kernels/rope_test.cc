#include "engine/kernels/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"
#include "tests/reference/operators.h"

namespace memgate {
namespace {

using reference::RandomFloats;

std::vector<double> Frequencies(int head_dim) { return reference::RopeFrequencies({}, head_dim); }

TEST(RopeTest, AnglesAreExactAtAnyPosition) {
  OnEverySimdTarget([] {
    for (const int dim : {2, 6, 10, 22, 64}) {
      const std::vector<double> frequencies = Frequencies(dim);
      const int half = dim / 2;
      const Rope rope(frequencies);
      std::vector<float> cos_sin(dim + 1, -7.0f);
      for (const int64_t position : {int64_t{0}, int64_t{1}, int64_t{10}, int64_t{4095}, int64_t{1'000'003},
                                     int64_t{10'000'000}, int64_t{123'456'789}}) {
        rope.Angles(position, cos_sin.data());
        for (int i = 0; i < half; ++i) {
          const long double angle = static_cast<long double>(position) * frequencies[i];
          // Half a unit in the last place of a float, and what the product loses in double precision.
          const double tolerance = 6e-8 + 1.2e-16 * static_cast<double>(angle);
          EXPECT_NEAR(cos_sin[i], static_cast<double>(std::cos(angle)), tolerance) << position << " " << i;
          EXPECT_NEAR(cos_sin[half + i], static_cast<double>(std::sin(angle)), tolerance)
              << position << " " << i;
        }
        EXPECT_EQ(cos_sin.back(), -7.0f) << "wrote past the angles";
      }
    }
  });
}

TEST(RopeTest, RotateEqualsPlainLoopsForEveryHeadSize) {
  OnEverySimdTarget([] {
    for (const int dim : {2, 4, 6, 10, 16, 18, 64, 96, 128}) {
      const Rope rope(Frequencies(dim));
      std::vector<float> cos_sin(dim), out(dim);
      const std::vector<float> x = RandomFloats(dim, dim);
      for (const int64_t position : {0, 1, 17, 5000}) {
        rope.Angles(position, cos_sin.data());
        Rotate(cos_sin.data(), dim, x.data(), out.data());
        const auto expected = reference::Rotated(reference::ToDouble(x), Frequencies(dim), position);
        EXPECT_LT(reference::RelativeError(out, expected), 1e-6) << dim << " " << position;
      }
    }
  });
}

TEST(RopeTest, RotateBackUndoesRotateAlsoInPlace) {
  const int dim = 20;
  const Rope rope(Frequencies(dim));
  const std::vector<float> x = RandomFloats(3, dim);
  std::vector<float> cos_sin(dim);
  rope.Angles(10'000'000, cos_sin.data());
  std::vector<float> y = x;
  Rotate(cos_sin.data(), dim, y.data(), y.data());
  EXPECT_NE(y, x);
  RotateBack(cos_sin.data(), dim, y.data(), y.data());
  for (int i = 0; i < dim; ++i) EXPECT_NEAR(y[i], x[i], 3e-7);
}

TEST(RopeTest, ProductsDependOnTheDistanceOnly) {
  const int dim = 64;
  const Rope rope(Frequencies(dim));
  const std::vector<float> q = RandomFloats(1, dim), k = RandomFloats(2, dim);
  std::vector<float> cos_sin(dim), rotated_q(dim), rotated_k(dim);
  const auto product = [&](int64_t at, int64_t distance) {
    rope.Angles(at + distance, cos_sin.data());
    Rotate(cos_sin.data(), dim, q.data(), rotated_q.data());
    rope.Angles(at, cos_sin.data());
    Rotate(cos_sin.data(), dim, k.data(), rotated_k.data());
    return reference::Dot(reference::ToDouble(rotated_q), reference::ToDouble(rotated_k));
  };
  EXPECT_NEAR(product(10'000'000, 37), product(0, 37), 3e-6);
}

}  // namespace
}  // namespace memgate
