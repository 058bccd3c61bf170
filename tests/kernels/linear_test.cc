#include "engine/kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/kernels/parallel.h"
#include "tests/reference/compare.h"
#include "tests/reference/operators.h"

namespace memgate {
namespace {

using reference::RandomFloats;

struct Size {
  int out;
  int in;
};
constexpr Size kSizes[] = {{1, 1},   {1, 17},   {3, 1},    {7, 5},      {16, 16},  {17, 33},
                           {64, 48}, {65, 172}, {172, 64}, {100, 1003}, {384, 128}};

Linear PackOrDie(const std::vector<float>& weight, const std::vector<float>& bias, Size size) {
  auto linear = Linear::Pack(weight, bias, size.out, size.in, WeightFormat::kF32);
  EXPECT_TRUE(linear.ok()) << linear.status();
  return *std::move(linear);
}

TEST(LinearTest, EqualsPlainLoopsWithAndWithoutBias) {
  for (const Size size : kSizes) {
    const std::vector<float> weight = RandomFloats(1, int64_t{size.out} * size.in);
    for (const bool with_bias : {false, true}) {
      const std::vector<float> bias = RandomFloats(2, with_bias ? size.out : 0);
      const Linear linear = PackOrDie(weight, bias, size);
      EXPECT_EQ(linear.in_features(), size.in);
      EXPECT_EQ(linear.out_features(), size.out);
      for (const int rows : {1, 2, 5, 8, 17, 64}) {
        const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
        std::vector<float> y(int64_t{rows} * size.out + 1, -7.0f);
        ASSERT_TRUE(linear.Apply(x.data(), rows, y.data()).ok());
        EXPECT_EQ(y.back(), -7.0f) << "wrote past the output";
        reference::Vector expected;
        for (int r = 0; r < rows; ++r) {
          const auto row = reference::Linear(
              reference::ToDouble(weight), reference::ToDouble(bias),
              reference::ToDouble(absl::MakeConstSpan(x).subspan(int64_t{r} * size.in, size.in)));
          expected.insert(expected.end(), row.begin(), row.end());
        }
        y.pop_back();
        EXPECT_LT(reference::RelativeError(y, expected), 3e-6)
            << size.in << " -> " << size.out << ", " << rows << " rows, bias " << with_bias;
      }
    }
  }
}

// The base of every "batch == each alone" and "one chunk == N chunks": a row's bits do not depend on how many
// rows stand beside it, where it stands among them, or what they hold.
TEST(LinearTest, RowsDoNotDependOnOtherRowsInAnyBit) {
  constexpr int kRows = 70;
  for (const int threads : {1, 2, 3}) {
    SetComputeThreads(threads);
    for (const Size size : {Size{1, 257}, Size{17, 1000}, Size{33, 4099}, Size{384, 128}, Size{128, 384},
                            Size{896, 896}, Size{172, 64}, Size{64, 172}}) {
      const Linear linear =
          PackOrDie(RandomFloats(1, int64_t{size.out} * size.in), RandomFloats(2, size.out), size);
      const std::vector<float> x = RandomFloats(3, int64_t{kRows} * size.in);
      std::vector<float> alone(int64_t{kRows} * size.out);
      for (int r = 0; r < kRows; ++r) {
        ASSERT_TRUE(linear.Apply(&x[int64_t{r} * size.in], 1, &alone[int64_t{r} * size.out]).ok());
      }
      std::vector<float> together(alone.size());
      for (const auto& [first, rows] : {std::pair{0, 2},
                                        {1, 3},
                                        {5, 4},
                                        {2, 5},
                                        {0, 6},
                                        {3, 7},
                                        {0, 8},
                                        {9, 9},
                                        {1, 16},
                                        {0, 17},
                                        {7, 31},
                                        {0, 33},
                                        {3, 64},
                                        {0, 70}}) {
        ASSERT_TRUE(linear.Apply(&x[int64_t{first} * size.in], rows, together.data()).ok());
        EXPECT_TRUE(std::equal(together.begin(), together.begin() + int64_t{rows} * size.out,
                               alone.begin() + int64_t{first} * size.out))
            << size.in << " -> " << size.out << ", " << rows << " rows, " << threads << " threads";
      }
    }
  }
  SetComputeThreads(0);
}

TEST(LinearTest, SurvivesMoreRowCountsThanItCaches) {
  const Size size{9, 11};
  const Linear linear = PackOrDie(RandomFloats(1, 99), {}, size);
  const std::vector<float> x = RandomFloats(2, 200 * 11);
  std::vector<float> first(9), y(200 * 9);
  ASSERT_TRUE(linear.Apply(x.data(), 1, first.data()).ok());
  for (int rows = 1; rows <= 200; ++rows) {
    ASSERT_TRUE(linear.Apply(x.data(), rows, y.data()).ok());
    EXPECT_TRUE(std::equal(first.begin(), first.end(), y.begin())) << rows;
  }
}

TEST(LinearTest, BytesAreKnownBeforePacking) {
  for (const Size size : kSizes) {
    for (const bool with_bias : {false, true}) {
      const Linear linear = PackOrDie(RandomFloats(1, int64_t{size.out} * size.in),
                                      RandomFloats(2, with_bias ? size.out : 0), size);
      EXPECT_EQ(Linear::PackedBytes(size.out, size.in, with_bias, WeightFormat::kF32), linear.packed_bytes());
      EXPECT_GE(linear.packed_bytes(), int64_t{size.out} * size.in * int64_t{sizeof(float)});
    }
  }
}

TEST(LinearTest, RefusesWeightsOrBiasOfAnotherSize) {
  EXPECT_FALSE(Linear::Pack(RandomFloats(1, 11), {}, 3, 4, WeightFormat::kF32).ok());
  EXPECT_FALSE(Linear::Pack(RandomFloats(1, 12), RandomFloats(1, 2), 3, 4, WeightFormat::kF32).ok());
}

}  // namespace
}  // namespace memgate
