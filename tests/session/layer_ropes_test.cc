#include "engine/session/layer_ropes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "tests/reference/operators.h"

namespace memgate {
namespace {

void ExpectEqualsPlainLoops(const RopeConfig& rope) {
  for (const int head_dim : {2, 8, 10, 64, 128}) {
    const auto actual = RopeFrequencies(rope, head_dim, 0);
    const auto expected = reference::RopeFrequencies(rope, head_dim);
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i)
      EXPECT_NEAR(actual[i] / expected[i], 1.0, 1e-14) << head_dim << " " << i;
  }
}

TEST(RopeFrequenciesTest, FallGeometricallyFromOne) {
  const auto frequencies = RopeFrequencies({.theta = 10000.0}, 4, 0);
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
  const auto plain = RopeFrequencies({.theta = 500000.0}, 128, 0);
  const auto scaled = RopeFrequencies(rope, 128, 0);
  EXPECT_EQ(scaled.front(), plain.front());
  EXPECT_DOUBLE_EQ(scaled.back(), plain.back() / 8.0);
}

TEST(RopeFrequenciesTest, LongropeHasFactorsForEitherContext) {
  const RopeConfig rope{
      .theta = 10000.0,
      .longrope = LongRopeScaling{
          .short_factors = {1.0, 2.0}, .long_factors = {4.0, 8.0}, .original_max_position = 100}};
  const auto plain = RopeFrequencies({.theta = 10000.0}, 4, 0);
  for (const auto& [context, factors] :
       {std::pair(100, rope.longrope->short_factors), std::pair(101, rope.longrope->long_factors)}) {
    const auto scaled = RopeFrequencies(rope, 4, context);
    for (int i = 0; i < 2; ++i) EXPECT_DOUBLE_EQ(scaled[i], plain[i] / factors[i]) << context;
  }
}

TEST(RopeFrequenciesTest, OnlyTheFirstPairsOfAPartAreRotated) {
  const RopeConfig rope{.rotated_dims = 4,
                        .theta = 10000.0,
                        .longrope = LongRopeScaling{.short_factors = {1.0, 2.0}, .long_factors = {4.0, 8.0}}};
  const auto frequencies = RopeFrequencies(rope, 10, 1);
  ASSERT_EQ(frequencies.size(), 5u);
  EXPECT_DOUBLE_EQ(frequencies[0], 1.0);
  EXPECT_DOUBLE_EQ(frequencies[1], 0.005);  // as of heads of 4
  for (int i = 2; i < 5; ++i) EXPECT_EQ(frequencies[i], 0.0);
}

TEST(LayerRopesTest, EachLayerHasItsOwnForTheContextOfTheSession) {
  ModelConfig config;
  config.head_dim = 4;
  config.ropes = {{.theta = 100.0,
                   .longrope = LongRopeScaling{.short_factors = {1.0, 1.0},
                                               .long_factors = {1.0, 2.0},
                                               .original_max_position = 100}},
                  {.theta = 25.0},
                  {.rotates = false}};
  const LayerRopes ropes(config);
  const auto sine = [&](int index, int64_t context) {
    float cos_sin[4];
    ropes.At(index, context).Angles(1, cos_sin);
    return cos_sin[3];
  };
  EXPECT_FLOAT_EQ(sine(0, 100), std::sin(0.1f));
  EXPECT_FLOAT_EQ(sine(0, 101), std::sin(0.05f));
  EXPECT_FLOAT_EQ(sine(1, 100), std::sin(0.2f));
  EXPECT_FLOAT_EQ(sine(1, 1000), std::sin(0.2f));
  EXPECT_EQ(sine(2, 100), 0.0f);
}

}  // namespace
}  // namespace memgate
