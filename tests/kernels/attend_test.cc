#include "engine/kernels/attend.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"
#include "tests/reference/operators.h"

namespace memgate {
namespace {

using reference::RandomFloats;

// Rows at `begin` in a store of keys or values, as the oracle wants them.
reference::Rows ToRows(const std::vector<float>& store, int rows, int dim) {
  reference::Rows out;
  for (int r = 0; r < rows; ++r) {
    out.push_back(reference::ToDouble(absl::MakeConstSpan(store).subspan(r * dim, dim)));
  }
  return out;
}

// Attends over parts of the given sizes; returns the distance to plain loops.
double ErrorOf(const std::vector<int>& part_rows, int dim, float spread) {
  std::vector<std::vector<float>> queries, keys, values;
  std::vector<AttendPart> parts;
  reference::Vector logits;
  reference::Rows all_values;
  const float scale = 0.3f;
  int total = 0;
  for (size_t p = 0; p < part_rows.size(); ++p) {
    const int rows = part_rows[p];
    queries.push_back(RandomFloats(3 * p + 1, dim));
    for (float& q : queries.back()) q *= spread;
    keys.push_back(RandomFloats(3 * p + 2, int64_t{rows} * dim));
    values.push_back(RandomFloats(3 * p + 3, int64_t{rows} * dim));
    const reference::Vector query = reference::ToDouble(queries.back());
    for (const auto& key : ToRows(keys.back(), rows, dim)) {
      logits.push_back(double{scale} * reference::Dot(query, key));
    }
    for (auto& value : ToRows(values.back(), rows, dim)) all_values.push_back(value);
    total += rows;
  }
  for (size_t p = 0; p < part_rows.size(); ++p) {
    parts.push_back({queries[p].data(), keys[p].data(), values[p].data(), part_rows[p]});
  }
  std::vector<float> scores(total + 1, -7.0f);
  std::vector<float> out(dim + 1, -7.0f);
  Attend(parts, dim, scale, scores.data(), out.data());
  EXPECT_EQ(scores.back(), -7.0f) << "wrote past the scores";
  EXPECT_EQ(out.back(), -7.0f) << "wrote past the output";
  out.pop_back();
  return reference::RelativeError(out, reference::WeightedSum(logits, all_values, dim));
}

TEST(AttendTest, EqualsPlainLoopsForEveryHeadSizeAndRowCount) {
  OnEverySimdTarget([] {
    for (const int dim : {2, 6, 8, 16, 20, 64, 80, 128}) {
      for (const int rows : {1, 2, 3, 5, 8, 9, 16, 17, 33, 100, 257}) {
        EXPECT_LT(ErrorOf({rows}, dim, 1.0f), 5e-6) << dim << " " << rows;
      }
    }
  });
}

TEST(AttendTest, PartsShareOneSoftmax) {
  OnEverySimdTarget([] {
    for (const auto& parts : std::vector<std::vector<int>>{
             {1, 1}, {0, 5}, {5, 0}, {3, 0, 4}, {4, 17}, {20, 1}, {7, 9, 31}, {64, 300}}) {
      EXPECT_LT(ErrorOf(parts, 24, 1.0f), 5e-6);
    }
  });
}

TEST(AttendTest, IsExactForLargeLogits) {
  OnEverySimdTarget([] { EXPECT_LT(ErrorOf({9, 30}, 16, 100.0f), 2e-4); });
}

TEST(AttendTest, NoRowsGiveZeros) {
  OnEverySimdTarget([] {
    std::vector<float> out(5, 1.0f);
    Attend({}, 5, 1.0f, nullptr, out.data());
    EXPECT_EQ(out, std::vector<float>(5, 0.0f));
  });
}

// What a query sees must not depend on whether its rows lie in one run or in two.
TEST(AttendTest, CuttingRowsIntoPartsChangesNoBit) {
  OnEverySimdTarget([] {
    const int dim = 12, rows = 41;
    const std::vector<float> query = RandomFloats(1, dim);
    const std::vector<float> keys = RandomFloats(2, rows * dim);
    const std::vector<float> values = RandomFloats(3, rows * dim);
    std::vector<float> scores(rows), whole(dim), cut(dim);
    const AttendPart one[] = {{query.data(), keys.data(), values.data(), rows}};
    Attend(one, dim, 0.5f, scores.data(), whole.data());
    for (int at = 0; at <= rows; ++at) {
      const AttendPart two[] = {{query.data(), keys.data(), values.data(), at},
                                {query.data(), keys.data() + at * dim, values.data() + at * dim, rows - at}};
      Attend(two, dim, 0.5f, scores.data(), cut.data());
      EXPECT_EQ(cut, whole) << at;
    }
  });
}

}  // namespace
}  // namespace memgate
