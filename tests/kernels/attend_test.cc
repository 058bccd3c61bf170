#include "engine/kernels/attend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"
#include "tests/reference/operators.h"

namespace memgate {
namespace {

using reference::RandomFloats;

constexpr float kUntouched = -7.0f;

// Rows in one format, and what they hold after rounding.
struct Rows {
  Rows(KvFormat format, uint64_t seed, int64_t count, int dim)
      : floats(RandomFloats(seed, count * dim)),
        bytes(count * KvRowBytes(format, dim)),
        rows(format, dim, bytes.data()) {
    for (int64_t r = 0; r < count; ++r) rows.Store(r, &floats[r * dim]);
    rows.Load(0, count, floats.data());
  }
  Rows(Rows&&) = default;  // leaves the bytes where they are
  std::vector<float> floats;
  std::vector<std::byte> bytes;
  KvRows rows;
};

// Runs of made-up keys and values, with queries of their own.
struct Runs {
  Runs(const std::vector<int>& rows, int count, int head_dim, KvFormat format = KvFormat::kF32,
       float spread = 1.0f)
      : dim(head_dim) {
    for (size_t r = 0; r < rows.size(); ++r) {
      queries.push_back(RandomFloats(3 * r + 1, int64_t{count} * dim));
      for (float& q : queries.back()) q *= spread;
      keys.emplace_back(format, 3 * r + 2, rows[r], dim);
      values.emplace_back(format, 3 * r + 3, rows[r], dim);
      runs.push_back({queries[r].data(), keys[r].rows, values[r].rows, rows[r]});
    }
  }

  // What query i gets by definition.
  reference::Vector Expected(int i, const AttendQueries& q) const {
    const int64_t limit = q.first_limit + i / q.per_token;
    int64_t number = q.first_row;
    reference::Vector logits;
    reference::Rows seen;
    for (size_t r = 0; r < runs.size(); ++r) {
      const reference::Vector query = Row(queries[r], i);
      for (int64_t k = 0; k < runs[r].rows; ++k, ++number) {
        if (number >= limit || (q.window > 0 && number < limit - q.window)) continue;
        const double score = double{q.scale} * reference::Dot(query, Row(keys[r].floats, k));
        logits.push_back(q.cap > 0 ? q.cap * std::tanh(score / q.cap) : score);
        seen.push_back(Row(values[r].floats, k));
      }
    }
    return reference::WeightedSum(logits, seen, dim);
  }

  reference::Vector Row(const std::vector<float>& store, int64_t row) const {
    return reference::ToDouble(absl::MakeConstSpan(store).subspan(row * dim, dim));
  }

  int dim;
  std::vector<std::vector<float>> queries;
  std::vector<Rows> keys, values;
  std::vector<AttendRun> runs;
};

// Every format with every one of `numbers`.
std::vector<std::pair<KvFormat, int>> EachWith(const std::vector<int>& numbers) {
  std::vector<std::pair<KvFormat, int>> pairs;
  for (const KvFormat format : kKvFormats) {
    for (const int number : numbers) pairs.emplace_back(format, number);
  }
  return pairs;
}

// The largest distance of any query's output to plain loops.
double ErrorOf(const Runs& runs, AttendQueries queries) {
  const int dim = runs.dim;
  queries.head_dim = dim;
  std::vector<float> out(queries.count * dim + 1, kUntouched);
  Attend(runs.runs, queries, out.data());
  EXPECT_EQ(out.back(), kUntouched) << "wrote past the output";
  double error = 0;
  for (int i = 0; i < queries.count; ++i) {
    const auto expected = runs.Expected(i, queries);
    error = std::max(
        error, reference::RelativeError(absl::MakeConstSpan(out).subspan(int64_t{i} * dim, dim), expected));
  }
  return error;
}

TEST(AttendTest, EqualsPlainLoopsForEveryHeadSizeAndRowCount) {
  OnEverySimdTarget([] {
    for (const KvFormat format : kKvFormats) {
      for (const int dim : {2, 6, 8, 16, 20, 64, 80, 128}) {
        for (const int rows : {1, 2, 3, 5, 8, 9, 16, 17, 33, 100, 128, 129, 257}) {
          EXPECT_LT(ErrorOf(Runs({rows}, 1, dim, format), {.count = 1, .first_limit = rows, .scale = 0.3f}),
                    5e-6)
              << KvFormatName(format) << " " << dim << " " << rows;
        }
      }
    }
  });
}

// Whoever sees a broken key gets no number, and nobody else is the worse for it.
TEST(AttendTest, AnInfiniteOrUndefinedScoreShowsInTheResult) {
  constexpr int kDim = 16, kTokens = 3, kFirstLimit = 40;
  for (const float broken :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    OnEverySimdTarget([&] {
      const Runs runs({kFirstLimit + kTokens - 1}, kTokens, kDim);
      std::vector<float> key(kDim, 0.1f);
      key[3] = broken;
      runs.keys[0].rows.Store(kFirstLimit, key.data());  // seen by all tokens but the first
      std::vector<float> out(kTokens * kDim);
      for (const float cap : {0.0f, 2.0f}) {
        Attend(runs.runs,
               {.count = kTokens, .first_limit = kFirstLimit, .head_dim = kDim, .scale = 0.3f, .cap = cap},
               out.data());
        for (int i = 0; i < kTokens * kDim; ++i) EXPECT_EQ(std::isnan(out[i]), i >= kDim) << i;
      }
    });
  }
}

TEST(AttendTest, EachTokenSeesOneRowMoreThanTheOneBefore) {
  OnEverySimdTarget([] {
    for (const int per_token : {1, 2, 3, 7}) {
      for (const int tokens : {1, 2, 9, 40}) {
        for (const int first_limit : {1, 2, 31, 100, 120, 128, 300}) {
          const int rows = first_limit + tokens - 1;
          const Runs runs({rows / 3, rows - rows / 3}, tokens * per_token, 20);
          EXPECT_LT(ErrorOf(runs, {.count = tokens * per_token,
                                   .per_token = per_token,
                                   .first_limit = first_limit,
                                   .scale = 0.3f}),
                    5e-6)
              << per_token << " " << tokens << " " << first_limit;
        }
      }
    }
  });
}

TEST(AttendTest, RunsShareOneSoftmax) {
  OnEverySimdTarget([] {
    for (const auto& rows : std::vector<std::vector<int>>{
             {1, 1}, {0, 5}, {5, 0}, {3, 0, 4}, {4, 17}, {20, 1}, {7, 9, 31}, {64, 300}, {260, 192}}) {
      for (const KvFormat format : kKvFormats) {
        const int all = std::accumulate(rows.begin(), rows.end(), 0);
        EXPECT_LT(ErrorOf(Runs(rows, 1, 24, format), {.count = 1, .first_limit = all, .scale = 0.3f}), 5e-6);
      }
    }
  });
}

TEST(AttendTest, IsExactForLargeLogits) {
  OnEverySimdTarget([] {
    EXPECT_LT(
        ErrorOf(Runs({9, 30}, 1, 16, KvFormat::kF32, 100.0f), {.count = 1, .first_limit = 39, .scale = 0.3f}),
        2e-4);
    EXPECT_LT(ErrorOf(Runs({90, 300}, 3, 16, KvFormat::kF32, 100.0f),
                      {.count = 3, .first_limit = 388, .scale = 0.3f}),
              2e-4);
  });
}

// The largest logit may come in any block, and those before may vanish against it.
TEST(AttendTest, FollowsTheLargestLogitFromBlockToBlock) {
  OnEverySimdTarget([] {
    for (const int largest : {0, 127, 128, 200, 383}) {
      const int dim = 8, rows = 384;
      Runs runs({rows}, 1, dim);
      float* key = &runs.keys[0].floats[largest * dim];
      for (int i = 0; i < dim; ++i) key[i] = 200.0f * runs.queries[0][i];
      runs.keys[0].rows.Store(largest, key);
      EXPECT_LT(ErrorOf(runs, {.count = 1, .first_limit = rows, .scale = 1.0f}), 1e-5) << largest;
    }
  });
}

TEST(AttendTest, NoRowsGiveZeros) {
  OnEverySimdTarget([] {
    std::vector<float> out(10, 1.0f);
    Attend({}, {.count = 2, .per_token = 2, .first_limit = 0, .head_dim = 5}, out.data());
    EXPECT_EQ(out, std::vector<float>(10, 0.0f));
  });
}

// Rows behind a token are not looked at: what lies there, even if it is not a number, has no say.
TEST(AttendTest, RowsThatATokenDoesNotSeeChangeNoBit) {
  OnEverySimdTarget([] {
    const int dim = 16, tokens = 5;
    for (const auto& [format, first_limit] : EachWith({1, 30, 126, 200})) {
      Runs runs({first_limit + tokens - 1}, tokens, dim, format);
      const AttendQueries queries{
          .count = tokens, .first_limit = first_limit, .head_dim = dim, .scale = 0.5f};
      std::vector<float> clean(tokens * dim), dirty(tokens * dim);
      Attend(runs.runs, queries, clean.data());
      const std::vector<float> nan(dim, std::numeric_limits<float>::quiet_NaN());
      runs.keys[0].rows.Store(first_limit + tokens - 2, nan.data());
      runs.values[0].rows.Store(first_limit + tokens - 2, nan.data());
      Attend(runs.runs, queries, dirty.data());
      dirty.resize((tokens - 1) * dim);
      clean.resize((tokens - 1) * dim);
      EXPECT_EQ(dirty, clean) << KvFormatName(format) << " " << first_limit;
    }
  });
}

TEST(AttendTest, QueriesThatAreWorkedOnTogetherChangeNoBit) {
  OnEverySimdTarget([] {
    const int dim = 12, tokens = 37, per_token = 3;
    for (const auto& [format, first_limit] : EachWith({1, 100, 250})) {
      const int rows = first_limit + tokens - 1;
      const Runs runs({rows / 2, rows - rows / 2}, tokens * per_token, dim, format);
      const auto attend = [&, limit = first_limit](int token, int count) {
        std::vector<AttendRun> part = runs.runs;
        for (AttendRun& run : part) run.queries += token * per_token * dim;
        std::vector<float> out(count * per_token * dim);
        Attend(part,
               {.count = count * per_token,
                .per_token = per_token,
                .first_limit = limit + token,
                .head_dim = dim,
                .scale = 0.5f},
               out.data());
        return out;
      };
      const std::vector<float> whole = attend(0, tokens);
      for (const int step : {1, 2, 5, 16}) {
        std::vector<float> parts;
        for (int token = 0; token < tokens; token += step) {
          const std::vector<float> part = attend(token, std::min(step, tokens - token));
          parts.insert(parts.end(), part.begin(), part.end());
        }
        EXPECT_EQ(parts, whole) << KvFormatName(format) << " " << first_limit << " " << step;
      }
    }
  });
}

TEST(AttendTest, QueriesOfALayerWithAWindowSeeItsLastRows) {
  OnEverySimdTarget([] {
    for (const int tokens : {1, 3, 70}) {
      for (const int window : {1, 2, 31, 128, 200}) {
        for (const int first_limit : {1, 30, 127, 128, 129, 420}) {
          // All rows; none in front of the windows; fewer than the windows would show.
          for (const int first_row : {0, std::max(0, first_limit - window), std::max(0, first_limit - 3)}) {
            const int rows = first_limit + tokens - 1 - first_row;
            const AttendQueries queries{.count = 2 * tokens,
                                        .per_token = 2,
                                        .first_row = first_row,
                                        .first_limit = first_limit,
                                        .window = window,
                                        .scale = 0.3f};
            EXPECT_LT(ErrorOf(Runs({rows / 2, rows - rows / 2}, 2 * tokens, 12), queries), 5e-6)
                << tokens << " tokens, window " << window << ", limit " << first_limit << ", first row "
                << first_row;
          }
        }
      }
    }
  });
}

// A session may have let go of them.
TEST(AttendTest, RowsInFrontOfTheWindowNeedNotBeThere) {
  OnEverySimdTarget([] {
    const int dim = 12, rows = 300, tokens = 40;
    for (const auto& [format, window] : EachWith({1, 17, 150})) {
      const Runs runs({rows}, tokens, dim, format);
      const AttendRun& all = runs.runs[0];
      AttendQueries queries{.count = tokens,
                            .first_limit = rows - tokens + 1,
                            .window = window,
                            .head_dim = dim,
                            .scale = 0.5f,
                            .cap = 0.7f};
      std::vector<float> whole(tokens * dim), cut(tokens * dim);
      Attend(runs.runs, queries, whole.data());
      for (int at = 0; at <= queries.first_limit - window; ++at) {
        const AttendRun rest = {all.queries, all.keys.From(at), all.values.From(at), rows - at};
        queries.first_row = at;
        Attend({&rest, 1}, queries, cut.data());
        EXPECT_EQ(cut, whole) << KvFormatName(format) << ", window " << window << ", from " << at;
      }
    }
  });
}

TEST(AttendTest, ACapBoundsScaledScores) {
  OnEverySimdTarget([] {
    for (const int rows : {1, 7, 130, 300}) {
      for (const float cap : {0.05f, 1.0f, 50.0f}) {
        const Runs runs({rows / 3, rows - rows / 3}, 6, 16, KvFormat::kF32, 5.0f);
        const AttendQueries queries{
            .count = 6, .per_token = 3, .first_limit = rows - 1, .scale = 0.3f, .cap = cap};
        EXPECT_LT(ErrorOf(runs, queries), 1e-5) << rows << " " << cap;
      }
    }
  });
}

// What a query sees must not depend on whether its rows lie in one run or in two.
TEST(AttendTest, CuttingRowsIntoRunsChangesNoBit) {
  OnEverySimdTarget([] {
    for (const auto& [format, rows] : EachWith({150})) {
      const int dim = 12;
      const Runs runs({rows}, 1, dim, format);
      const AttendRun& one = runs.runs[0];
      const AttendQueries query{.count = 1, .first_limit = rows, .head_dim = dim, .scale = 0.5f};
      std::vector<float> whole(dim), cut(dim);
      Attend(runs.runs, query, whole.data());
      for (int at = 0; at <= rows; ++at) {
        const AttendRun two[] = {{one.queries, one.keys, one.values, at},
                                 {one.queries, one.keys.From(at), one.values.From(at), rows - at}};
        Attend(two, query, cut.data());
        EXPECT_EQ(cut, whole) << KvFormatName(format) << " " << at;
      }
    }
  });
}

}  // namespace
}  // namespace memgate
