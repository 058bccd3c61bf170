#include "engine/kernels/panel_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "engine/kernels/parallel.h"
#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"
#include "tests/reference/operators.h"

namespace memgate {
namespace {

using reference::RandomFloats;

constexpr struct {
  int out;
  int in;
} kSizes[] = {{1, 1}, {1, 33}, {5, 7}, {15, 4}, {16, 16}, {17, 31}, {33, 100}, {64, 129}, {100, 1003}};

TEST(PanelMatrixTest, EqualsPlainLoopsWithAndWithoutBias) {
  SetComputeThreads(1);
  OnEverySimdTarget([] {
    for (const auto& size : kSizes) {
      const std::vector<float> weight = RandomFloats(1, int64_t{size.out} * size.in);
      for (const bool with_bias : {false, true}) {
        const std::vector<float> bias = RandomFloats(2, with_bias ? size.out : 0);
        const PanelMatrix matrix(weight, bias, size.out, size.in);
        for (const int rows : {1, 2, 3, 4, 5, 9}) {
          const std::vector<float> x = RandomFloats(3, int64_t{rows} * size.in);
          std::vector<float> y(int64_t{rows} * size.out + 1, -7.0f);
          matrix.Apply(x.data(), rows, y.data());
          EXPECT_EQ(y.back(), -7.0f) << "wrote past the output";
          y.pop_back();
          reference::Vector expected;
          for (int r = 0; r < rows; ++r) {
            const auto row = reference::Linear(
                reference::ToDouble(weight), reference::ToDouble(bias),
                reference::ToDouble(absl::MakeConstSpan(x).subspan(int64_t{r} * size.in, size.in)));
            expected.insert(expected.end(), row.begin(), row.end());
          }
          EXPECT_LT(reference::RelativeError(y, expected), 5e-6)
              << size.in << " -> " << size.out << " " << rows;
        }
      }
    }
  });
}

TEST(PanelMatrixTest, RowsDoNotDependOnOtherRowsOrThreadsInAnyBit) {
  OnEverySimdTarget([] {
    const int out = 83, in = 301, rows = 23;
    const PanelMatrix matrix(RandomFloats(1, out * in), RandomFloats(2, out), out, in);
    const std::vector<float> x = RandomFloats(3, rows * in);
    std::vector<float> alone(rows * out), together(rows * out);
    SetComputeThreads(1);
    for (int r = 0; r < rows; ++r) matrix.Apply(&x[r * in], 1, &alone[r * out]);
    for (const int threads : {1, 3}) {
      SetComputeThreads(threads);
      for (int count = 1; count <= rows; ++count) {
        for (const int first : {0, rows - count}) {
          matrix.Apply(&x[first * in], count, together.data());
          EXPECT_TRUE(
              std::equal(together.begin(), together.begin() + count * out, alone.begin() + first * out))
              << count << " rows, " << threads << " threads";
        }
      }
    }
    SetComputeThreads(0);
  });
}

}  // namespace
}  // namespace memgate
