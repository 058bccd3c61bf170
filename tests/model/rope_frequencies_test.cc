#include "engine/model/rope_frequencies.h"

#include <gtest/gtest.h>

#include "tests/reference/operators.h"

namespace memgate {
namespace {

void ExpectEqualsPlainLoops(const RopeConfig& rope) {
  for (const int head_dim : {2, 8, 10, 64, 128}) {
    const auto actual = RopeFrequencies(rope, head_dim);
    const auto expected = reference::RopeFrequencies(rope, head_dim);
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i)
      EXPECT_NEAR(actual[i] / expected[i], 1.0, 1e-14) << head_dim << " " << i;
  }
}

TEST(RopeFrequenciesTest, FallGeometricallyFromOne) {
  const auto frequencies = RopeFrequencies({.theta = 10000.0}, 4);
  ASSERT_EQ(frequencies.size(), 2u);
  EXPECT_DOUBLE_EQ(frequencies[0], 1.0);
  EXPECT_DOUBLE_EQ(frequencies[1], 0.01);
}

TEST(RopeFrequenciesTest, EveryScalingEqualsPlainLoops) {
  ExpectEqualsPlainLoops({.theta = 10000.0});
  ExpectEqualsPlainLoops({.theta = 1e6, .linear_factor = 4.0});
  ExpectEqualsPlainLoops({.theta = 500000.0, .llama3 = Llama3RopeScaling{}});
  ExpectEqualsPlainLoops({.theta = 10000.0, .llama3 = Llama3RopeScaling{32.0, 1.0, 4.0, 128}});
}

TEST(RopeFrequenciesTest, Llama3KeepsShortWavelengthsAndStretchesLongOnes) {
  const RopeConfig rope{.theta = 500000.0, .llama3 = Llama3RopeScaling{}};
  const auto plain = RopeFrequencies({.theta = 500000.0}, 128);
  const auto scaled = RopeFrequencies(rope, 128);
  EXPECT_EQ(scaled.front(), plain.front());
  EXPECT_DOUBLE_EQ(scaled.back(), plain.back() / 8.0);
}

}  // namespace
}  // namespace memgate
