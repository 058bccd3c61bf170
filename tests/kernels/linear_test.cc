#include "engine/kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
#include "engine/kernels/aligned_bytes.h"
#include "engine/kernels/dnnl_matrix.h"
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

// How far a format may be from the weights that it was given, as a share of the largest output.
struct FormatTolerance {
  WeightFormat format;
  double tolerance;
};

// bf16 where oneDNN has a kernel for it that keeps rows apart.
std::vector<FormatTolerance> Formats() {
  std::vector<FormatTolerance> formats = {
      {WeightFormat::kF32, 3e-6}, {WeightFormat::kInt8, 0.02}, {WeightFormat::kInt4, 0.2}};
  if (DnnlMatrix::Bytes(16, 16, false, WeightFormat::kBf16)) formats.push_back({WeightFormat::kBf16, 0.01});
  return formats;
}

LinearShape ShapeOf(WeightFormat format, Size size, bool with_bias) {
  return {.format = format, .out_features = size.out, .in_features = size.in, .has_bias = with_bias};
}

// Random weights, and a random bias if the shape has one.
Linear PackOrDie(const LinearShape& shape) {
  const int64_t outputs = int64_t{shape.out_features} * (shape.gated ? 2 : 1);
  auto linear = Linear::Pack(shape, RandomFloats(1, outputs * shape.in_features),
                             RandomFloats(2, shape.has_bias ? outputs : 0));
  EXPECT_TRUE(linear.ok()) << linear.status();
  return *std::move(linear);
}

// y = ... for `rows` rows of x; the scratch holds what others left in it.
std::vector<float> Product(const Linear& linear, const float* x, int rows) {
  AlignedBytes scratch(Linear::ScratchBytes(linear.shape(), rows));
  std::fill(scratch.span().begin(), scratch.span().end(), std::byte{0x7F});
  std::vector<float> y(int64_t{rows} * linear.shape().out_features + 1, -7.0f);
  EXPECT_TRUE((linear.shape().gated ? linear.ApplyGated(x, rows, y.data(), scratch.span())
                                    : linear.Apply(x, rows, y.data(), scratch.span()))
                  .ok());
  EXPECT_EQ(y.back(), -7.0f) << "wrote past the output";
  y.pop_back();
  return y;
}

// x W^T + b in plain loops, for the weights of PackOrDie. first: the first of the matrix's `count` outputs.
reference::Vector PlainLoops(const LinearShape& shape, const std::vector<float>& x, int first, int count) {
  const int64_t in = shape.in_features;
  const std::vector<float> weight = RandomFloats(1, (first + count) * in);
  const std::vector<float> bias = RandomFloats(2, shape.has_bias ? count : 0);
  reference::Vector y;
  for (int64_t begin = 0; begin < static_cast<int64_t>(x.size()); begin += in) {
    const auto row = reference::Linear(reference::ToDouble(absl::MakeConstSpan(weight).subspan(first * in)),
                                       reference::ToDouble(bias),
                                       reference::ToDouble(absl::MakeConstSpan(x).subspan(begin, in)));
    y.insert(y.end(), row.begin(), row.end());
  }
  return y;
}

std::string Describe(const LinearShape& shape, int rows) {
  return Concat(WeightFormatName(shape.format), " ", shape.in_features, " -> ", shape.out_features, ", ",
                rows, " rows, bias ", shape.has_bias, ", gated ", shape.gated);
}

TEST(LinearTest, EqualsPlainLoopsWithAndWithoutBias) {
  for (const auto& [format, tolerance] : Formats()) {
    for (const Size size : kSizes) {
      for (const bool with_bias : {false, true}) {
        const LinearShape shape = ShapeOf(format, size, with_bias);
        const Linear linear = PackOrDie(shape);
        for (const int rows : {1, 2, 5, 8, 17, 64}) {
          const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
          EXPECT_LT(
              reference::RelativeError(Product(linear, x.data(), rows), PlainLoops(shape, x, 0, size.out)),
              tolerance)
              << Describe(shape, rows);
        }
      }
    }
  }
}

TEST(LinearTest, AddToAddsToWhatIsThere) {
  for (const auto& [format, tolerance] : Formats()) {
    for (const Size size : kSizes) {
      for (const bool with_bias : {false, true}) {
        const LinearShape shape = ShapeOf(format, size, with_bias);
        const Linear linear = PackOrDie(shape);
        for (const int rows : {1, 5, 64}) {
          const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
          reference::Vector expected = PlainLoops(shape, x, 0, size.out);
          std::vector<float> y = RandomFloats(4, int64_t{rows} * size.out);
          for (size_t i = 0; i < y.size(); ++i) expected[i] += y[i];
          AlignedBytes scratch(Linear::ScratchBytes(shape, rows));
          ASSERT_TRUE(linear.AddTo(x.data(), rows, y.data(), scratch.span()).ok());
          EXPECT_LT(reference::RelativeError(y, expected), tolerance) << Describe(shape, rows);
        }
      }
    }
  }
}

TEST(LinearTest, GatedLayersMultiplyUpByTheActivatedGate) {
  for (const auto& [format, tolerance] : Formats()) {
    for (size_t i = 0; i < std::size(kSizes); ++i) {
      const Size size = kSizes[i];
      LinearShape shape = ShapeOf(format, size, false);
      shape.gated = true;
      shape.activation = i % 2 == 0 ? Activation::kSilu : Activation::kGeluTanh;
      const Linear linear = PackOrDie(shape);
      for (const int rows : {1, 5, 64}) {
        const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
        const auto expected = reference::ActivateMultiply(shape.activation, PlainLoops(shape, x, 0, size.out),
                                                          PlainLoops(shape, x, size.out, size.out));
        EXPECT_LT(reference::RelativeError(Product(linear, x.data(), rows), expected), 2 * tolerance)
            << Describe(shape, rows);
      }
    }
  }
}

// The base of every "batch == each alone" and "one chunk == N chunks": a row's bits do not depend on how many
// rows stand beside it, where it stands among them, or what they hold.
TEST(LinearTest, RowsDoNotDependOnOtherRowsInAnyBit) {
  constexpr int kRows = 70;
  for (const auto& [format, tolerance] : Formats()) {
    for (const int threads : {1, 2, 3}) {
      SetComputeThreads(threads);
      for (const Size size : {Size{1, 257}, Size{17, 1000}, Size{33, 4099}, Size{384, 128}, Size{128, 384},
                              Size{896, 896}, Size{172, 64}, Size{64, 172}}) {
        for (const bool gated : {false, true}) {
          LinearShape shape = ShapeOf(format, size, !gated);
          shape.gated = gated;
          const Linear linear = PackOrDie(shape);
          const std::vector<float> x = RandomFloats(3, int64_t{kRows} * size.in);
          std::vector<float> alone;
          for (int r = 0; r < kRows; ++r) {
            const std::vector<float> row = Product(linear, &x[int64_t{r} * size.in], 1);
            alone.insert(alone.end(), row.begin(), row.end());
          }
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
            const std::vector<float> together = Product(linear, &x[int64_t{first} * size.in], rows);
            EXPECT_TRUE(
                std::equal(together.begin(), together.end(), alone.begin() + int64_t{first} * size.out))
                << Describe(shape, rows) << ", " << threads << " threads";
          }
        }
      }
    }
  }
  SetComputeThreads(0);
}

TEST(LinearTest, SurvivesMoreRowCountsThanItCaches) {
  const Linear linear = PackOrDie(ShapeOf(WeightFormat::kF32, {9, 11}, false));
  const std::vector<float> x = RandomFloats(2, 200 * 11);
  const std::vector<float> first = Product(linear, x.data(), 1);
  for (int rows = 1; rows <= 200; ++rows) {
    const std::vector<float> y = Product(linear, x.data(), rows);
    EXPECT_TRUE(std::equal(first.begin(), first.end(), y.begin())) << rows;
  }
}

TEST(LinearTest, NoRowsAreNoWork) {
  for (const auto& [format, tolerance] : Formats()) {
    EXPECT_TRUE(Product(PackOrDie(ShapeOf(format, {17, 33}, true)), nullptr, 0).empty());
  }
}

TEST(LinearTest, BytesAreKnownBeforePacking) {
  for (const auto& [format, tolerance] : Formats()) {
    for (const Size size : kSizes) {
      for (const bool with_bias : {false, true}) {
        const LinearShape shape = ShapeOf(format, size, with_bias);
        EXPECT_EQ(Linear::PackedBytes(shape), PackOrDie(shape).packed_bytes());
      }
    }
  }
  const auto bytes = [](WeightFormat format) {
    return Linear::PackedBytes(ShapeOf(format, {384, 128}, true));
  };
  EXPECT_GE(bytes(WeightFormat::kF32), 384 * 128 * 4);
  EXPECT_LT(bytes(WeightFormat::kInt8), bytes(WeightFormat::kF32) / 3);
  EXPECT_LT(bytes(WeightFormat::kInt4), bytes(WeightFormat::kInt8) * 2 / 3);
}

TEST(LinearTest, ViewOfStoredBytesEqualsTheOriginal) {
  const std::vector<float> x = RandomFloats(3, 5 * 33);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const bool gated : {false, true}) {
      LinearShape shape = ShapeOf(format, {17, 33}, !gated);
      shape.gated = gated;
      const Linear linear = PackOrDie(shape);
      const auto view = Linear::View(shape, linear.bytes());
      ASSERT_TRUE(view.ok()) << view.status();
      EXPECT_EQ(Product(*view, x.data(), 5), Product(linear, x.data(), 5));
      EXPECT_FALSE(Linear::View(shape, linear.bytes().first(64)).ok());
    }
  }
  const LinearShape floats = ShapeOf(WeightFormat::kF32, {17, 33}, false);
  EXPECT_TRUE(PackOrDie(floats).bytes().empty());
  EXPECT_FALSE(Linear::View(floats, {}).ok());
}

TEST(LinearTest, RefusesWeightsOrBiasOfAnotherSize) {
  for (const auto& [format, tolerance] : Formats()) {
    const LinearShape shape = ShapeOf(format, {3, 4}, false), biased = ShapeOf(format, {3, 4}, true);
    EXPECT_FALSE(Linear::Pack(shape, RandomFloats(1, 11), {}).ok());
    EXPECT_FALSE(Linear::Pack(shape, RandomFloats(1, 12), RandomFloats(1, 3)).ok());
    EXPECT_FALSE(Linear::Pack(biased, RandomFloats(1, 12), RandomFloats(1, 2)).ok());
    EXPECT_FALSE(Linear::Pack(biased, RandomFloats(1, 12), {}).ok());
  }
}

}  // namespace
}  // namespace memgate
