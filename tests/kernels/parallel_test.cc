#include "engine/kernels/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>
#include <utility>
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

// Each loop reads what other ranges wrote in the one before; without atomics, so that ThreadSanitizer sees
// whether the end of a loop orders its writes before what follows.
TEST(ParallelTest, WhatRangesWriteIsThereWhenTheLoopEnds) {
  for (const int threads : {2, 4}) {
    SetComputeThreads(threads);
    constexpr int64_t kItems = 64, kRounds = 2000;
    std::vector<int64_t> values(kItems), previous(kItems);
    for (int64_t round = 0; round < kRounds; ++round) {
      std::swap(values, previous);
      ParallelFor(kItems, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) values[i] = previous[kItems - 1 - i] + 1;
      });
    }
    EXPECT_EQ(values, std::vector<int64_t>(kItems, kRounds));
  }
  SetComputeThreads(0);
}

TEST(ParallelTest, RangesDependOnNothingButCountAndThreads) {
  SetComputeThreads(3);
  const std::set<std::tuple<int64_t, int64_t, int>> expected = {{0, 3, 0}, {3, 6, 1}, {6, 10, 2}};
  for (int round = 0; round < 200; ++round) {
    std::mutex mutex;
    std::set<std::tuple<int64_t, int64_t, int>> ranges;
    ParallelFor(10, 1, [&](int64_t begin, int64_t end, int worker) {
      const std::lock_guard lock(mutex);
      ranges.emplace(begin, end, worker);
    });
    ASSERT_EQ(ranges, expected);
  }
  SetComputeThreads(0);
}

TEST(ParallelTest, BalancedLoopsVisitEachItemOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    SetComputeThreads(threads);
    for (const int64_t count : {0, 1, 2, 3, 7, 8, 100, 1001}) {
      for (const int64_t least : {1, 2, 50}) {
        std::vector<int> visits(count);  // without atomics: ThreadSanitizer sees whether ranges overlap
        std::atomic<int> bad_workers{0};
        ParallelForBalanced(count, least, [&](int64_t begin, int64_t end, int worker) {
          if (worker < 0 || worker >= threads || begin >= end) ++bad_workers;
          for (int64_t i = begin; i < end; ++i) ++visits[i];
        });
        EXPECT_EQ(bad_workers, 0);
        EXPECT_EQ(visits, std::vector<int>(count, 1)) << count << " items, " << threads << " threads";
      }
    }
  }
  SetComputeThreads(0);
}

// The first item waits until all others are done: others must take what lies behind it in its thread's range.
TEST(ParallelTest, ABalancedLoopTakesItemsFromAThreadThatIsSlow) {
  SetComputeThreads(2);
  constexpr int kItems = 100;
  std::atomic<int> done{0};
  std::atomic<bool> met{false};
  ParallelForBalanced(kItems, 1, [&](int64_t begin, int64_t end, int) {
    const bool is_first = begin == 0;
    done += static_cast<int>(end - begin);
    if (!is_first) return;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (done < kItems && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    met = done == kItems;
  });
  EXPECT_TRUE(met);
  SetComputeThreads(0);
}

TEST(ParallelTest, LoopsWithinALoopRunAsOneRange) {
  SetComputeThreads(3);
  std::atomic<int> ranges{0}, whole{0};
  ParallelFor(3, 1, [&](int64_t, int64_t, int) {
    ParallelFor(100, 1, [&](int64_t begin, int64_t end, int worker) {
      ++ranges;
      if (begin == 0 && end == 100 && worker == 0) ++whole;
    });
  });
  EXPECT_EQ(ranges, 3);
  EXPECT_EQ(whole, 3);
  SetComputeThreads(0);
}

TEST(ParallelTest, EachThreadHasThePoolThatItAskedFor) {
  SetComputeThreads(2);
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&sum, i] {
      EXPECT_EQ(ComputeThreads(), 1);
      SetComputeThreads(i + 1);
      EXPECT_EQ(ComputeThreads(), i + 1);
      for (int round = 0; round < 100; ++round) {
        ParallelFor(10, 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 3 * 100 * 10);
  EXPECT_EQ(ComputeThreads(), 2);
  SetComputeThreads(0);
}

TEST(WeightFormatTest, NamesRoundTripAndUnknownOnesListTheKnown) {
  for (const WeightFormat format :
       {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    const auto parsed = ParseWeightFormat(WeightFormatName(format));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, format);
  }
  const auto unknown = ParseWeightFormat("q4_k");
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(unknown.status().message(), "unknown weight format 'q4_k'; known: f32, bf16, int8, int4");
}

}  // namespace
}  // namespace memgate
