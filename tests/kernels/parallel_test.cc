#include "engine/kernels/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "engine/kernels/weight_format.h"

namespace memgate {
namespace {

TEST(ParallelTest, RangesAreDisjointAndCoverEverything) {
  for (const int threads : {1, 2, 3, 7}) {
    SetComputeThreads(threads);
    EXPECT_EQ(ComputeThreads(), threads);
    for (const int64_t count : {0, 1, 2, 3, 6, 7, 8, 100, 1001}) {
      for (const int64_t least : {1, 2, 50}) {
        std::vector<std::atomic<int>> visits(count);
        std::atomic<int> bad_workers{0};
        ParallelFor(count, least, [&](int64_t begin, int64_t end, int worker) {
          if (worker < 0 || worker >= threads || (end - begin < std::min(least, count))) ++bad_workers;
          for (int64_t i = begin; i < end; ++i) ++visits[i];
        });
        EXPECT_EQ(bad_workers, 0);
        EXPECT_TRUE(std::all_of(visits.begin(), visits.end(), [](const auto& v) { return v == 1; }))
            << count << " items, " << threads << " threads";
      }
    }
  }
  SetComputeThreads(0);
  EXPECT_GE(ComputeThreads(), 1);
}

TEST(WeightFormatTest, NamesRoundTripAndUnknownOnesListTheKnown) {
  const auto format = ParseWeightFormat(WeightFormatName(WeightFormat::kF32));
  ASSERT_TRUE(format.ok());
  EXPECT_EQ(*format, WeightFormat::kF32);
  const auto unknown = ParseWeightFormat("q4_k");
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(unknown.status().message(), "unknown weight format 'q4_k'; known: f32");
}

}  // namespace
}  // namespace memgate
