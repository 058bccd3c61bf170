#include "engine/kernels/dnnl_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/parallel.h"
#include "tests/reference/compare.h"

namespace memgate {
namespace {

using reference::RandomFloats;

struct Size {
  int out;
  int in;
};
// Slices of one unit and of several, full and not; rows of less than a block of 128, a block, and more.
constexpr Size kSizes[] = {{1, 1}, {1, 257}, {17, 33}, {65, 172}, {130, 64}, {200, 1003}, {384, 128}};
constexpr int kRowCounts[] = {1, 2, 7, 64, 128, 129, 300};
constexpr WeightFormat kFormats[] = {WeightFormat::kF32, WeightFormat::kBf16};

class DnnlMatrixTest : public testing::TestWithParam<WeightFormat> {
 protected:
  ~DnnlMatrixTest() override { SetComputeThreads(0); }

  // Where oneDNN's kernel on this CPU will not do, the matrix says so and there is nothing else to test.
  static bool Unavailable(Size size) {
    if (DnnlMatrix::Bytes(size.out, size.in, true, GetParam())) return false;
    const auto matrix = DnnlMatrix::Pack(RandomFloats(1, int64_t{size.out} * size.in),
                                         RandomFloats(2, size.out), size.out, size.in, GetParam());
    EXPECT_EQ(matrix.status().code(), absl::StatusCode::kUnimplemented);
    return true;
  }

  static DnnlMatrix PackOrDie(Size size, bool with_bias = true) {
    auto matrix = DnnlMatrix::Pack(RandomFloats(1, int64_t{size.out} * size.in),
                                   RandomFloats(2, with_bias ? size.out : 0), size.out, size.in, GetParam());
    EXPECT_TRUE(matrix.ok()) << matrix.status();
    return *std::move(matrix);
  }
};

// Rounding to bf16's 8 significant bits moves a weight and an x by at most 2^-8 of themselves each, so a
// product by at most 2^-7 (1 + 2^-9); sums in f32 add little to that.
TEST_P(DnnlMatrixTest, EqualsPlainLoopsWithinTheRoundingOfTheFormat) {
  const double rounding = GetParam() == WeightFormat::kBf16 ? 0x1p-7 * (1 + 0x1p-9) : 0;
  for (const Size size : kSizes) {
    if (Unavailable(size)) return;
    const std::vector<float> weight = RandomFloats(1, int64_t{size.out} * size.in);
    for (const bool with_bias : {false, true}) {
      const std::vector<float> bias = RandomFloats(2, size.out);
      for (const int threads : {1, 3}) {
        SetComputeThreads(threads);
        const DnnlMatrix matrix = PackOrDie(size, with_bias);
        for (const int rows : kRowCounts) {
          const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
          std::vector<float> y(int64_t{rows} * size.out + 1, -7.0f);
          ASSERT_TRUE(matrix.Apply(x.data(), rows, y.data()).ok());
          EXPECT_EQ(y.back(), -7.0f) << "wrote past the output";
          int wrong = 0;
          for (int64_t i = 0; i < int64_t{rows} * size.out; ++i) {
            double sum = with_bias ? bias[i % size.out] : 0, magnitude = std::abs(sum);
            for (int k = 0; k < size.in; ++k) {
              const double product =
                  double{x[i / size.out * size.in + k]} * weight[i % size.out * size.in + k];
              sum += product;
              magnitude += std::abs(product);
            }
            wrong += !(std::abs(y[i] - sum) <= magnitude * (rounding + 3e-6));
          }
          EXPECT_EQ(wrong, 0) << size.in << " -> " << size.out << ", " << rows << " rows, " << threads
                              << " threads, bias " << with_bias;
        }
      }
    }
  }
}

// Numbers of few bits are bf16 already and their sums are exact, so that nothing may be lost.
TEST_P(DnnlMatrixTest, IsExactOverSmallIntegers) {
  const Size size{100, 300};
  if (Unavailable(size)) return;
  const auto integers = [](uint64_t seed, int64_t count) {
    std::vector<float> values = RandomFloats(seed, count);
    for (float& value : values) value = std::round(100 * value);
    return values;
  };
  const std::vector<float> weight = integers(1, size.out * size.in), x = integers(2, size.in);
  const auto matrix = DnnlMatrix::Pack(weight, {}, size.out, size.in, GetParam());
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  std::vector<float> y(size.out);
  ASSERT_TRUE(matrix->Apply(x.data(), 1, y.data()).ok());
  for (int o = 0; o < size.out; ++o) {
    double sum = 0;
    for (int k = 0; k < size.in; ++k) sum += double{x[k]} * weight[o * size.in + k];
    EXPECT_EQ(y[o], sum);
  }
}

TEST_P(DnnlMatrixTest, RowsAndThreadsChangeNoBit) {
  constexpr int kRows = 260;
  for (const Size size : kSizes) {
    if (Unavailable(size)) return;
    const std::vector<float> x = RandomFloats(3, int64_t{kRows} * size.in);
    std::vector<float> alone(int64_t{kRows} * size.out);
    SetComputeThreads(1);
    const DnnlMatrix whole = PackOrDie(size);
    for (int r = 0; r < kRows; ++r) {
      ASSERT_TRUE(whole.Apply(&x[int64_t{r} * size.in], 1, &alone[int64_t{r} * size.out]).ok());
    }
    for (const int packing_threads : {1, 2, 3}) {
      SetComputeThreads(packing_threads);
      const DnnlMatrix matrix = PackOrDie(size);
      for (const int threads : {1, 2, 5}) {
        SetComputeThreads(threads);
        for (const auto& [first, rows] : {std::pair{3, 1}, {0, 2}, {5, 31}, {1, 128}, {7, 129}, {0, 260}}) {
          std::vector<float> together(int64_t{rows} * size.out);
          ASSERT_TRUE(matrix.Apply(&x[int64_t{first} * size.in], rows, together.data()).ok());
          EXPECT_TRUE(std::equal(together.begin(), together.end(), alone.begin() + int64_t{first} * size.out))
              << size.in << " -> " << size.out << ", " << rows << " rows, packed by " << packing_threads
              << " threads, multiplied by " << threads;
        }
      }
    }
  }
}

TEST_P(DnnlMatrixTest, AddsWhatApplyStores) {
  SetComputeThreads(3);
  for (const Size size : kSizes) {
    if (Unavailable(size)) return;
    const DnnlMatrix matrix = PackOrDie(size);
    for (const int rows : kRowCounts) {
      const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
      std::vector<float> sum = RandomFloats(4, int64_t{rows} * size.out), expected = sum;
      std::vector<float> y(sum.size());
      ASSERT_TRUE(matrix.Apply(x.data(), rows, y.data()).ok());
      ASSERT_TRUE(matrix.AddTo(x.data(), rows, sum.data()).ok());
      for (size_t i = 0; i < y.size(); ++i) expected[i] += y[i];
      EXPECT_EQ(sum, expected) << size.in << " -> " << size.out << ", " << rows << " rows";
    }
  }
}

TEST_P(DnnlMatrixTest, BytesAreKnownBeforePacking) {
  const int64_t weight_bytes = GetParam() == WeightFormat::kBf16 ? 2 : 4;
  for (const int threads : {1, 3}) {
    SetComputeThreads(threads);
    for (const Size size : kSizes) {
      if (Unavailable(size)) return;
      for (const bool with_bias : {false, true}) {
        const DnnlMatrix matrix = PackOrDie(size, with_bias);
        EXPECT_EQ(DnnlMatrix::Bytes(size.out, size.in, with_bias, GetParam()), matrix.bytes());
        EXPECT_GE(matrix.bytes(), weight_bytes * size.out * size.in);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, DnnlMatrixTest, testing::ValuesIn(kFormats),
                         [](const auto& format) { return std::string(WeightFormatName(format.param)); });

TEST(DnnlMatrixFormatsTest, IntegersAreNotIts) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    EXPECT_EQ(DnnlMatrix::Bytes(4, 3, false, format), std::nullopt);
    EXPECT_EQ(DnnlMatrix::Pack(RandomFloats(1, 12), {}, 4, 3, format).status().code(),
              absl::StatusCode::kUnimplemented);
  }
}

}  // namespace
}  // namespace memgate
