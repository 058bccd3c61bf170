#include "tests/bench/peaks.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "engine/kernels/aligned_bytes.h"
#include "engine/kernels/parallel.h"

// VNNI is part of the target that Highway leaves out by default.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/peaks.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace memgate::bench {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A tile of kRows by two vectors of sums: as many as the registers hold beside what is loaded.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
constexpr int kRows = 6;
#else
constexpr int kRows = 12;
#endif
constexpr int kDepth = 128;  // steps over one tile: both operands stay in the first-level cache

float SumOf(const float* data, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (int64_t i = 0; i + 4 * lanes <= count; i += 4 * lanes) {
    sum0 = hn::Add(sum0, hn::LoadU(d, data + i));
    sum1 = hn::Add(sum1, hn::LoadU(d, data + i + lanes));
    sum2 = hn::Add(sum2, hn::LoadU(d, data + i + 2 * lanes));
    sum3 = hn::Add(sum3, hn::LoadU(d, data + i + 3 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
}

// `times` tiles of a product of sums [kRows, 2 vectors] over kDepth steps. Returns the operations done.
double MultiplyF32(int times, float* sink) {
  const hn::ScalableTag<float> d;
  using Vector = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  std::vector<float> left(kDepth * kRows, 1e-3f), right(kDepth * 2 * lanes, 1e-3f);
  Vector sums[kRows][2];  // all loops over it unrolled: it stays in registers
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = hn::Zero(d);
  for (int i = 0; i < times; ++i) {
    for (int k = 0; k < kDepth; ++k) {
      const Vector b0 = hn::LoadU(d, &right[k * 2 * lanes]), b1 = hn::LoadU(d, &right[k * 2 * lanes + lanes]);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Vector a = hn::Set(d, left[k * kRows + r]);
        sums[r][0] = hn::MulAdd(a, b0, sums[r][0]);
        sums[r][1] = hn::MulAdd(a, b1, sums[r][1]);
      }
    }
  }
  Vector sum = hn::Zero(d);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sum = hn::Add(sum, hn::Add(sums[r][0], sums[r][1]));
  *sink += hn::GetLane(hn::SumOfLanes(d, sum));
  return 2.0 * times * kDepth * kRows * 2 * lanes;
}

// The same of bytes, four inputs a step.
double MultiplyInt8(int times, float* sink) {
  const hn::ScalableTag<int32_t> d;
  using Vector = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  Vector sums[kRows][2];  // all loops over it unrolled: it stays in registers
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = hn::Zero(d);
#if HWY_TARGET == HWY_AVX3_DL
  constexpr int kInputs = 4;
  std::vector<int32_t> left(kDepth * kRows, 0x01020304), right(kDepth * 2 * lanes, 0x04030201);
#else
  constexpr int kInputs = 2;
  const hn::Repartition<int16_t, decltype(d)> d16;
  std::vector<int32_t> left(kDepth * kRows, 0x00010002), right(kDepth * 2 * lanes, 0x00020001);
#endif
  for (int i = 0; i < times; ++i) {
    for (int k = 0; k < kDepth; ++k) {
      const Vector b0 = hn::LoadU(d, &right[k * 2 * lanes]), b1 = hn::LoadU(d, &right[k * 2 * lanes + lanes]);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Vector a = hn::Set(d, left[k * kRows + r]);
#if HWY_TARGET == HWY_AVX3_DL
        // The intrinsic wants a compiler flag that this version of Highway does not set for the target.
        asm("vpdpbusd %2, %1, %0" : "+v"(sums[r][0].raw) : "v"(a.raw), "v"(b0.raw));
        asm("vpdpbusd %2, %1, %0" : "+v"(sums[r][1].raw) : "v"(a.raw), "v"(b1.raw));
#else
        const auto a16 = hn::BitCast(d16, a);
        sums[r][0] = hn::ReorderWidenMulAccumulate(d, a16, hn::BitCast(d16, b0), sums[r][0], sums[r][1]);
        sums[r][1] = hn::ReorderWidenMulAccumulate(d, a16, hn::BitCast(d16, b1), sums[r][1], sums[r][0]);
#endif
      }
    }
  }
  Vector sum = hn::Zero(d);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sum = hn::Add(sum, hn::Add(sums[r][0], sums[r][1]));
  *sink += static_cast<float>(hn::GetLane(hn::SumOfLanes(d, sum)));
  return 2.0 * times * kDepth * kRows * 2 * lanes * kInputs;
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate::bench
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate::bench {
namespace {

HWY_EXPORT(SumOf);
HWY_EXPORT(MultiplyF32);
HWY_EXPORT(MultiplyInt8);

constexpr int64_t kStreamFloats = int64_t{128} << 20;  // 512 MiB
constexpr int64_t kCachedFloats = 96 << 10;            // 384 KiB a thread
constexpr int kTries = 7;

// Greatest rate of several tries; work(worker) runs on every thread and returns what it did.
double BestRate(absl::FunctionRef<double(int worker)> work) {
  const int threads = ComputeThreads();
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    std::vector<double> done(threads);
    const auto start = std::chrono::steady_clock::now();
    ParallelFor(threads, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) done[t] = work(static_cast<int>(t));
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    double sum = 0;
    for (const double part : done) sum += part;
    best = std::max(best, sum / seconds.count());
  }
  return best;
}

}  // namespace

Peaks MeasurePeaks() {
  const int threads = ComputeThreads();
  std::vector<float> sinks(threads * 64);  // a cache line or more apart
  const auto sink = [&](int worker) { return &sinks[worker * 64]; };

  Peaks peaks;
  {
    AlignedBytes stream(kStreamFloats * sizeof(float));
    std::memset(stream.span().data(), 0, stream.span().size());
    const auto* floats = reinterpret_cast<const float*>(stream.span().data());
    const int64_t part = kStreamFloats / threads;
    peaks.read_bytes_per_s = BestRate([&](int worker) {
      *sink(worker) += HWY_DYNAMIC_DISPATCH(SumOf)(floats + worker * part, part);
      return 4.0 * part;
    });
  }
  const auto cached = std::make_unique<float[]>(kCachedFloats * threads);
  peaks.cache_bytes_per_s = BestRate([&](int worker) {
    constexpr int kRounds = 2000;
    for (int i = 0; i < kRounds; ++i) {
      *sink(worker) += HWY_DYNAMIC_DISPATCH(SumOf)(cached.get() + worker * kCachedFloats, kCachedFloats);
    }
    return 4.0 * kCachedFloats * kRounds;
  });
  constexpr int kTiles = 100'000;
  peaks.f32_operations_per_s =
      BestRate([&](int worker) { return HWY_DYNAMIC_DISPATCH(MultiplyF32)(kTiles / 2, sink(worker)); });
  peaks.int8_operations_per_s =
      BestRate([&](int worker) { return HWY_DYNAMIC_DISPATCH(MultiplyInt8)(kTiles, sink(worker)); });
  return peaks;
}

}  // namespace memgate::bench
#endif  // HWY_ONCE
