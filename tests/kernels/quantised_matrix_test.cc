#include "engine/kernels/quantised_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/elementwise.h"
#include "engine/kernels/parallel.h"
#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"
#include "tests/reference/operators.h"

namespace memgate {
namespace {

using reference::RandomFloats;

constexpr WeightFormat kFormats[] = {WeightFormat::kInt8, WeightFormat::kInt4};

struct Size {
  int out;
  int in;
};
// None of 16 or 32 outputs, nor 4, 32 or 64 inputs; and all of them. The last two have several chunks of
// inputs.
constexpr Size kSizes[] = {{1, 1},   {1, 3},    {5, 7},    {16, 4},    {17, 33},  {32, 64},
                           {33, 65}, {48, 100}, {70, 512}, {31, 1003}, {65, 1536}};

QuantisedMatrix QuantiseOrDie(const QuantisedShape& shape, const std::vector<float>& weight,
                              const std::vector<float>& bias = {}) {
  auto matrix = QuantisedMatrix::Quantise(shape, weight, bias);
  EXPECT_TRUE(matrix.ok()) << matrix.status();
  return *std::move(matrix);
}

AlignedBytes Scratch(const QuantisedMatrix& matrix, int rows) {
  return AlignedBytes(QuantisedMatrix::ScratchBytes(rows, matrix.shape().in_features));
}

std::vector<float> Apply(const QuantisedMatrix& matrix, absl::Span<const float> x) {
  const int rows = static_cast<int>(x.size()) / matrix.shape().in_features;
  AlignedBytes scratch = Scratch(matrix, rows);
  std::vector<float> y(size_t(rows) * matrix.shape().out_features + 1, -7.0f);
  if (matrix.shape().gated) {
    matrix.ApplyGated(Activation::kSilu, x.data(), rows, y.data(), scratch.span());
  } else {
    matrix.Apply(x.data(), rows, y.data(), scratch.span());
  }
  EXPECT_EQ(y.back(), -7.0f) << "wrote past the output";
  y.pop_back();
  return y;
}

// Integers in [-limit, limit] with `limit` itself at every `period`-th place, so that a scale of 1 is exact.
std::vector<float> RandomIntegers(uint64_t seed, int64_t count, int limit, int period) {
  std::mt19937_64 engine(seed);
  std::vector<float> out(count);
  for (int64_t i = 0; i < count; ++i) {
    out[i] = i % period == 0 ? limit : static_cast<int>(engine() % (2 * limit + 1)) - limit;
  }
  return out;
}

std::vector<float> PlainProduct(absl::Span<const float> x, const std::vector<float>& weight, Size size) {
  std::vector<float> y;
  for (size_t r = 0; r < x.size() / size.in; ++r) {
    for (int o = 0; o < size.out; ++o) {
      int64_t sum = 0;
      for (int k = 0; k < size.in; ++k) {
        sum +=
            static_cast<int64_t>(x[r * size.in + k]) * static_cast<int64_t>(weight[int64_t{o} * size.in + k]);
      }
      y.push_back(static_cast<float>(sum));
    }
  }
  return y;
}

// The weights that a matrix holds, read by multiplying the rows of the identity.
std::vector<float> Held(const QuantisedMatrix& matrix) {
  const auto [format, out, in, gated] = matrix.shape();
  std::vector<float> identity(int64_t{in} * in);
  for (int k = 0; k < in; ++k) identity[int64_t{k} * in + k] = 127.0f;  // of scale 1
  const std::vector<float> columns = Apply(matrix, identity);
  std::vector<float> weight(int64_t{out} * in);
  for (int o = 0; o < out; ++o) {
    for (int k = 0; k < in; ++k) weight[int64_t{o} * in + k] = columns[int64_t{k} * out + o] / 127.0f;
  }
  return weight;
}

std::vector<float> RoundedRows(absl::Span<const float> x, int in) {
  std::vector<float> out(x.begin(), x.end());
  for (size_t begin = 0; begin < out.size(); begin += in) {
    float largest = 0;
    for (int k = 0; k < in; ++k) largest = std::max(largest, std::abs(out[begin + k]));
    for (int k = 0; k < in; ++k) {
      out[begin + k] = std::nearbyint(out[begin + k] * (127.0f / largest)) * (largest / 127.0f);
    }
  }
  return out;
}

double SquaredError(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return sum;
}

// Integer weights and activations whose scales are 1, on every target and number of rows: 24 bits hold the
// sums, so every bit is right or the sum is wrong.
TEST(QuantisedMatrixTest, SumsOfIntegersAreExactOnEveryTarget) {
  SetComputeThreads(1);
  OnEverySimdTarget([] {
    for (const Size size : kSizes) {
      const std::vector<float> weight = RandomIntegers(1, int64_t{size.out} * size.in, 127, size.in);
      const QuantisedMatrix matrix = QuantiseOrDie(
          {.format = WeightFormat::kInt8, .out_features = size.out, .in_features = size.in}, weight);
      const std::vector<float> x = RandomIntegers(2, int64_t{40} * size.in, 127, size.in);
      const std::vector<float> expected = PlainProduct(x, weight, size);
      for (int rows = 1; rows <= 40; ++rows) {
        const auto y = Apply(matrix, absl::MakeConstSpan(x).subspan(0, int64_t{rows} * size.in));
        ASSERT_TRUE(std::equal(y.begin(), y.end(), expected.begin()))
            << size.in << " -> " << size.out << ", " << rows << " rows";
      }
    }
  });
  SetComputeThreads(0);
}

TEST(QuantisedMatrixTest, SumsOfTheLargestIntegersDoNotOverflow) {
  constexpr int kIn = QuantisedMatrix::kMaxInFeatures;
  const std::vector<float> ones(kIn, 1.0f);
  const std::vector<float> signs[] = {std::vector<float>(kIn, 1.0f), std::vector<float>(kIn, -1.0f)};
  OnEverySimdTarget([&] {
    for (const WeightFormat format : kFormats) {
      const QuantisedMatrix matrix =
          QuantiseOrDie({.format = format, .out_features = 1, .in_features = kIn}, ones);
      EXPECT_FLOAT_EQ(Apply(matrix, signs[0])[0], kIn);
      EXPECT_FLOAT_EQ(Apply(matrix, signs[1])[0], -kIn);
    }
  });
}

// Both formats are a product of rounded rows with the weights that they hold.
TEST(QuantisedMatrixTest, EqualsPlainLoopsOverWhatItHolds) {
  OnEverySimdTarget([] {
    for (const WeightFormat format : kFormats) {
      for (const Size size : kSizes) {
        const std::vector<float> weight = RandomFloats(1, int64_t{size.out} * size.in);
        for (const bool with_bias : {false, true}) {
          const std::vector<float> bias = RandomFloats(2, with_bias ? size.out : 0);
          const QuantisedShape shape{.format = format, .out_features = size.out, .in_features = size.in};
          const QuantisedMatrix matrix = QuantiseOrDie(shape, weight, bias);
          const reference::Vector held = reference::ToDouble(Held(QuantiseOrDie(shape, weight)));
          const std::vector<float> x = RandomFloats(3, int64_t{9} * size.in);
          const std::vector<float> rounded = RoundedRows(x, size.in);
          for (const int rows : {1, 2, 9}) {
            reference::Vector expected;
            for (int r = 0; r < rows; ++r) {
              const auto row = reference::Linear(
                  held, reference::ToDouble(bias),
                  reference::ToDouble(absl::MakeConstSpan(rounded).subspan(int64_t{r} * size.in, size.in)));
              expected.insert(expected.end(), row.begin(), row.end());
            }
            const auto y = Apply(matrix, absl::MakeConstSpan(x).subspan(0, int64_t{rows} * size.in));
            EXPECT_LT(reference::RelativeError(y, expected), 2e-6)
                << WeightFormatName(format) << ' ' << size.in << " -> " << size.out << ", " << rows
                << " rows";
          }
        }
      }
    }
  });
}

TEST(QuantisedMatrixTest, HoldsWeightsWithinHalfAStepInInt8) {
  const Size size{37, 301};
  const std::vector<float> weight = RandomFloats(1, int64_t{size.out} * size.in);
  const auto held = Held(QuantiseOrDie({.out_features = size.out, .in_features = size.in}, weight));
  for (int o = 0; o < size.out; ++o) {
    float largest = 0;
    for (int k = 0; k < size.in; ++k) largest = std::max(largest, std::abs(weight[o * size.in + k]));
    for (int k = 0; k < size.in; ++k) {
      EXPECT_LE(std::abs(held[o * size.in + k] - weight[o * size.in + k]), largest / 127 * 0.5001f);
    }
  }
}

// The usual way to 4 bits: a float scale per group, at which the largest weight is -8.
std::vector<float> RoundedInGroups(std::vector<float> weight) {
  for (size_t begin = 0; begin < weight.size(); begin += 32) {
    float farthest = 0;
    for (size_t i = begin; i < begin + 32; ++i) {
      if (std::abs(weight[i]) > std::abs(farthest)) farthest = weight[i];
    }
    const float scale = farthest / -8;
    for (size_t i = begin; i < begin + 32; ++i) {
      weight[i] = scale * std::clamp(std::nearbyint(weight[i] / scale), -8.0f, 7.0f);
    }
  }
  return weight;
}

TEST(QuantisedMatrixTest, Int4IsAsCloseAsAFloatScalePerGroup) {
  const Size size{64, 1024};
  std::mt19937_64 engine(5);
  std::normal_distribution<float> normal;
  std::vector<float> weight(size.out * size.in);
  for (float& w : weight) w = normal(engine);
  const auto held = Held(QuantiseOrDie(
      {.format = WeightFormat::kInt4, .out_features = size.out, .in_features = size.in}, weight));
  EXPECT_LT(SquaredError(held, weight), SquaredError(RoundedInGroups(weight), weight));
}

// The base of "batch == each alone" and "one chunk == N chunks".
TEST(QuantisedMatrixTest, RowsDoNotDependOnOtherRowsOrThreadsInAnyBit) {
  constexpr int kRows = 300;
  OnEverySimdTarget([] {
    for (const WeightFormat format : kFormats) {
      for (const bool gated : {false, true}) {
        const QuantisedShape shape{.format = format, .out_features = 83, .in_features = 611, .gated = gated};
        const int64_t in = shape.in_features, out = shape.out_features;
        const QuantisedMatrix matrix = QuantiseOrDie(shape, RandomFloats(1, out * in * (gated ? 2 : 1)),
                                                     RandomFloats(2, gated ? 0 : out));
        const std::vector<float> x = RandomFloats(3, kRows * in);
        SetComputeThreads(1);
        std::vector<float> alone;
        for (int r = 0; r < kRows; ++r) {
          const auto row = Apply(matrix, absl::MakeConstSpan(x).subspan(r * in, in));
          alone.insert(alone.end(), row.begin(), row.end());
        }
        for (const int threads : {1, 3}) {
          SetComputeThreads(threads);
          for (const int rows : {2, 3, 4, 5, 7, 8, 9, 12, 13, 25, 40, 127, 128, 129, 300}) {
            for (const int first : {0, kRows - rows}) {
              const auto y = Apply(matrix, absl::MakeConstSpan(x).subspan(first * in, rows * in));
              ASSERT_TRUE(std::equal(y.begin(), y.end(), alone.begin() + first * out))
                  << WeightFormatName(format) << ", " << rows << " rows, " << threads << " threads";
            }
          }
        }
        SetComputeThreads(0);
      }
    }
  });
}

TEST(QuantisedMatrixTest, AddToEqualsAdditionAfterwardsInEveryBit) {
  OnEverySimdTarget([] {
    for (const WeightFormat format : kFormats) {
      for (const Size size : kSizes) {
        const QuantisedMatrix matrix =
            QuantiseOrDie({.format = format, .out_features = size.out, .in_features = size.in},
                          RandomFloats(1, int64_t{size.out} * size.in), RandomFloats(2, size.out));
        for (const int rows : {1, 11}) {
          const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
          const std::vector<float> before = RandomFloats(4, int64_t{rows} * size.out);
          const std::vector<float> product = Apply(matrix, x);
          std::vector<float> y = before;
          y.push_back(-7.0f);
          AlignedBytes scratch = Scratch(matrix, rows);
          matrix.AddTo(x.data(), rows, y.data(), scratch.span());
          EXPECT_EQ(y.back(), -7.0f) << "wrote past the output";
          for (size_t i = 0; i < before.size(); ++i) ASSERT_EQ(y[i], before[i] + product[i]) << i;
        }
      }
    }
  });
}

TEST(QuantisedMatrixTest, GatedEqualsItsTwoMatricesAlone) {
  OnEverySimdTarget([] {
    for (const WeightFormat format : kFormats) {
      for (const Size size : kSizes) {
        const int64_t weights = int64_t{size.out} * size.in;
        const std::vector<float> weight = RandomFloats(1, 2 * weights);
        QuantisedShape shape{.format = format, .out_features = size.out, .in_features = size.in};
        const auto gate = QuantiseOrDie(shape, {weight.begin(), weight.begin() + weights});
        const auto up = QuantiseOrDie(shape, {weight.begin() + weights, weight.end()});
        shape.gated = true;
        const auto both = QuantiseOrDie(shape, weight);
        for (const int rows : {1, 6, 23}) {
          const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
          const auto expected = reference::ActivateMultiply(
              Activation::kSilu, reference::ToDouble(Apply(gate, x)), reference::ToDouble(Apply(up, x)));
          EXPECT_LT(reference::RelativeError(Apply(both, x), expected), 1e-6)
              << WeightFormatName(format) << ' ' << size.in << " -> " << size.out << ", " << rows << " rows";
        }
      }
    }
  });
}

// A row's scale is its own, so what its neighbours hold is nothing to it.
TEST(QuantisedMatrixTest, ZeroHugeTinyAndUnusableRowsStandBesideEachOther) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const int out = 35, in = 70;
  const std::vector<float> row = RandomFloats(3, in);
  OnEverySimdTarget([&] {
    for (const WeightFormat format : kFormats) {
      const std::vector<float> bias = RandomFloats(2, out);
      const auto matrix = QuantiseOrDie({.format = format, .out_features = out, .in_features = in},
                                        RandomFloats(1, out * in), bias);
      const std::vector<float> alone = Apply(matrix, row);
      for (const int place : {0, in / 2, in - 1}) {
        std::vector<float> x;
        for (const float factor : {1.0f, 0.0f, 0x1p100f, 0x1p-140f, 1.0f, 1.0f, 1.0f}) {
          for (const float v : row) x.push_back(v * factor);
        }
        x[4 * in + place] = kInfinity;
        x[5 * in + place] = kNaN;
        x[5 * in + (place + 1) % in] = -kInfinity;
        const std::vector<float> y = Apply(matrix, x);
        for (int o = 0; o < out; ++o) {
          EXPECT_EQ(y[o], alone[o]);
          EXPECT_EQ(y[out + o], bias[o]);
          EXPECT_NEAR(y[2 * out + o] * 0x1p-100f, alone[o] - bias[o], 1e-5f);
          EXPECT_EQ(y[3 * out + o], bias[o]);
          EXPECT_TRUE(std::isnan(y[4 * out + o]));
          EXPECT_TRUE(std::isnan(y[5 * out + o]));
          EXPECT_EQ(y[6 * out + o], alone[o]);
        }
      }
    }
  });
}

TEST(QuantisedMatrixTest, WeightsOfZeroTinyOrHugeOutputsAreHeld) {
  for (const WeightFormat format : kFormats) {
    const int in = 40;
    std::vector<float> weight;
    for (const float factor : {1.0f, 0.0f, 0x1p-140f, 0x1p-90f, 0x1p110f}) {
      for (const float w : RandomFloats(7, in)) weight.push_back(w * factor);
    }
    const auto matrix = QuantiseOrDie({.format = format, .out_features = 5, .in_features = in}, weight);
    std::vector<float> x(in, 1.0f);
    const std::vector<float> y = Apply(matrix, x);
    EXPECT_EQ(y[1], 0.0f);
    EXPECT_EQ(y[2], 0.0f);
    EXPECT_FLOAT_EQ(y[3], y[0] * 0x1p-90f);
    EXPECT_FLOAT_EQ(y[4], y[0] * 0x1p110f);
  }
}

TEST(QuantisedMatrixTest, RefusesWhatItCannotHold) {
  const auto code = [](const QuantisedShape& shape, std::vector<float> weight, std::vector<float> bias) {
    return QuantisedMatrix::Quantise(shape, weight, bias).status().code();
  };
  constexpr auto kRefused = absl::StatusCode::kInvalidArgument;
  for (const WeightFormat format : kFormats) {
    EXPECT_EQ(code({format, 3, 4}, RandomFloats(1, 11), {}), kRefused);
    EXPECT_EQ(code({format, 3, 4}, RandomFloats(1, 12), RandomFloats(1, 2)), kRefused);
    EXPECT_EQ(code({format, 3, 4, true}, RandomFloats(1, 24), RandomFloats(1, 3)), kRefused);
    EXPECT_EQ(code({format, 0, 4}, {}, {}), kRefused);
    EXPECT_EQ(code({format, 3, 0}, {}, {}), kRefused);
    EXPECT_EQ(code({format, 1, QuantisedMatrix::kMaxInFeatures + 1},
                   std::vector<float>(QuantisedMatrix::kMaxInFeatures + 1), {}),
              kRefused);
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> weight = RandomFloats(1, 200);
      weight[137] = bad;
      EXPECT_EQ(code({format, 2, 100}, weight, {}), kRefused);
    }
  }
  EXPECT_EQ(code({WeightFormat::kF32, 3, 4}, RandomFloats(1, 12), {}), kRefused);
}

// A copy of packed bytes as a file would be mapped, `offset` bytes behind the beginning of a cache line.
struct StoredBytes {
  explicit StoredBytes(absl::Span<const std::byte> bytes, int offset = 0)
      : memory(static_cast<int64_t>(bytes.size()) + offset), size(bytes.size()), offset(offset) {
    std::copy(bytes.begin(), bytes.end(), memory.span().begin() + offset);
  }
  absl::Span<std::byte> span() { return memory.span().subspan(offset, size); }

  AlignedBytes memory;
  size_t size;
  int offset;
};

TEST(QuantisedMatrixTest, ViewOfStoredBytesEqualsTheOriginal) {
  for (const WeightFormat format : kFormats) {
    for (const bool gated : {false, true}) {
      for (const Size size : kSizes) {
        const QuantisedShape shape{format, size.out, size.in, gated};
        const auto matrix =
            QuantiseOrDie(shape, RandomFloats(1, int64_t{size.out} * size.in * (gated ? 2 : 1)),
                          RandomFloats(2, gated ? 0 : size.out));
        EXPECT_EQ(static_cast<int64_t>(matrix.bytes().size()), QuantisedMatrix::Bytes(shape));
        StoredBytes stored(matrix.bytes());
        const auto view = QuantisedMatrix::View(shape, stored.span());
        ASSERT_TRUE(view.ok()) << view.status();
        EXPECT_EQ(view->bytes().data(), stored.span().data()) << "copied";
        const std::vector<float> x = RandomFloats(3, int64_t{3} * size.in);
        EXPECT_EQ(Apply(*view, x), Apply(matrix, x));
      }
    }
  }
}

TEST(QuantisedMatrixTest, ViewRefusesBytesOfAnotherMatrix) {
  const auto refused = [](const QuantisedShape& shape, absl::Span<const std::byte> bytes) {
    const auto view = QuantisedMatrix::View(shape, bytes);
    EXPECT_EQ(view.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(view.status().message());
  };
  const QuantisedShape shape{WeightFormat::kInt8, 33, 65};
  const auto matrix = QuantiseOrDie(shape, RandomFloats(1, 33 * 65));
  StoredBytes stored(matrix.bytes());
  refused(shape, stored.span().first(stored.size - 1));
  refused(shape, StoredBytes(matrix.bytes(), 16).span());
  // Of the same size.
  refused({WeightFormat::kInt8, 34, 65}, stored.span());
  refused({WeightFormat::kInt8, 33, 66}, stored.span());
  refused({WeightFormat::kInt8, 17, 65, true}, stored.span());
  refused({WeightFormat::kF32, 33, 65}, stored.span());
  refused({WeightFormat::kInt8, 0, 65}, stored.span());
  for (const size_t at : {0, 8, 12}) {  // magic, layout version, bits
    StoredBytes damaged(matrix.bytes());
    damaged.span()[at] ^= std::byte{4};
    EXPECT_NE(refused(shape, damaged.span()).find("header"), std::string::npos);
  }
}

TEST(QuantisedMatrixTest, Int4TakesLittleMoreThanHalfTheBytesOfInt8) {
  const auto bytes = [](WeightFormat format) { return QuantisedMatrix::Bytes({format, 4096, 4096}); };
  EXPECT_LT(bytes(WeightFormat::kInt8), int64_t{4096} * 4096 * 1.005);
  EXPECT_LT(bytes(WeightFormat::kInt4), int64_t{4096} * 4096 * 4.35 / 8);
}

}  // namespace
}  // namespace memgate
