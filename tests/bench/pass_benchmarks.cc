#include "tests/bench/pass_benchmarks.h"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/kernels/aligned_bytes.h"
#include "engine/kernels/elementwise.h"
#include "engine/kernels/kv_rows.h"
#include "engine/kernels/memory_matrix.h"
#include "engine/kernels/quantised_matrix.h"
#include "engine/kernels/rope.h"
#include "tests/bench/benchmarking.h"

namespace memgate::bench {
namespace {

// The matrix of `memgate` in all layers, [2 D, D].
constexpr MatrixShape kMatrix = {2 * kHeadDim, kHeadDim};
constexpr int64_t kMatrixFloats = int64_t{kMatrix.features} * kMatrix.columns;
constexpr int kMatrices = kLayers * kKvHeads;

void RunReadMatrix(benchmark::State& state, const Peaks& peaks, int tokens) {
  const int reads = tokens * kHeads / kKvHeads;
  const std::vector<float> matrices = RandomFloats(kMatrices * kMatrixFloats);
  const std::vector<float> features = RandomFloats(int64_t{reads} * kMatrix.features);
  std::vector<float> out(int64_t{kMatrices} * reads * kMatrix.columns);
  for (auto _ : state) {
    ForEach(kMatrices, [&](int64_t i) {
      ReadMatrix(&matrices[i * kMatrixFloats], kMatrix, reads, {features.data(), kMatrix.features},
                 &out[i * reads * kMatrix.columns], kMatrix.columns);
    });
  }
  Report(state, peaks,
         {.cache_bytes = double{sizeof(float)} * kMatrices * kMatrixFloats,
          .operations = 2.0 * kMatrices * reads * kMatrixFloats});
}

void RunWriteDeltas(benchmark::State& state, const Peaks& peaks) {
  std::vector<float> matrices(kMatrices * kMatrixFloats);
  const std::vector<float> features = RandomFloats(int64_t{kSegment} * kMatrix.features, 0.1f);
  const std::vector<float> values = RandomFloats(int64_t{kSegment} * kMatrix.columns);
  const std::vector<float> decays(kSegment, 0.99f), strengths(kSegment, 0.1f);
  for (auto _ : state) {
    ForEach(kMatrices, [&](int64_t i) {
      WriteDeltas({.tokens = kSegment,
                   .features = {features.data(), kMatrix.features},
                   .values = {values.data(), kMatrix.columns},
                   .decays = decays.data(),
                   .strengths = strengths.data()},
                  kMatrix, &matrices[i * kMatrixFloats]);
    });
  }
  // Per token: read phi^T M, add an outer product.
  Report(state, peaks,
         {.cache_bytes = 2.0 * sizeof(float) * kMatrices * kMatrixFloats,
          .operations = 4.0 * kMatrices * kSegment * kMatrixFloats});
}

void RunAddAssociations(benchmark::State& state, const Peaks& peaks) {
  std::vector<float> matrices(kMatrices * kMatrixFloats);
  const std::vector<float> features = RandomFloats(int64_t{kSegment} * kMatrix.features, 1e-3f);
  const std::vector<float> values = RandomFloats(int64_t{kSegment} * kMatrix.columns, 1e-3f);
  for (auto _ : state) {
    ForEach(kMatrices, [&](int64_t i) {
      AddAssociations(kSegment, {features.data(), kMatrix.features}, {values.data(), kMatrix.columns},
                      kMatrix, &matrices[i * kMatrixFloats]);
    });
  }
  Report(state, peaks,
         {.cache_bytes = 2.0 * sizeof(float) * kMatrices * kMatrixFloats,
          .operations = 2.0 * kMatrices * kSegment * kMatrixFloats});
}

// Keys and values of a chunk in one layer.
constexpr int kChunkRows = 2 * kSegment * kKvHeads;

void RunKvStore(benchmark::State& state, const Peaks& peaks, KvFormat format) {
  const std::vector<float> x = RandomFloats(int64_t{kChunkRows} * kHeadDim);
  std::vector<std::byte> bytes(kChunkRows * KvRowBytes(format, kHeadDim));
  const KvRows rows(format, kHeadDim, bytes.data());
  for (auto _ : state) {
    ForEach(kChunkRows, [&](int64_t row) { rows.Store(row, &x[row * kHeadDim]); });
  }
  Report(state, peaks, {.cache_bytes = 1.0 * sizeof(float) * x.size() + bytes.size()});
}

void RunKvLoad(benchmark::State& state, const Peaks& peaks, KvFormat format) {
  constexpr int kRowsAtOnce = 64;
  std::vector<float> x = RandomFloats(int64_t{kChunkRows} * kHeadDim);
  std::vector<std::byte> bytes(kChunkRows * KvRowBytes(format, kHeadDim));
  const KvRows rows(format, kHeadDim, bytes.data());
  for (int row = 0; row < kChunkRows; ++row) rows.Store(row, &x[int64_t{row} * kHeadDim]);
  for (auto _ : state) {
    ForEach(kChunkRows / kRowsAtOnce,
            [&](int64_t i) { rows.Load(i * kRowsAtOnce, kRowsAtOnce, &x[i * kRowsAtOnce * kHeadDim]); });
  }
  Report(state, peaks, {.cache_bytes = 1.0 * sizeof(float) * x.size() + bytes.size()});
}

// What each int8 or int4 layer does to its input first.
void RunQuantiseRows(benchmark::State& state, const Peaks& peaks, int rows) {
  const std::vector<float> x = RandomFloats(int64_t{rows} * kFfn);
  AlignedBytes scratch(QuantisedMatrix::ScratchBytes(rows, kFfn));
  for (auto _ : state) QuantisedMatrix::QuantiseRows(x.data(), rows, kFfn, scratch.span());
  Report(state, peaks, {.cache_bytes = (1.0 * sizeof(float) + sizeof(int8_t)) * x.size()});
}

void RunRmsNorm(benchmark::State& state, const Peaks& peaks) {
  const std::vector<float> x = RandomFloats(kSegment * kHidden), weight = RandomFloats(kHidden);
  std::vector<float> out(x.size());
  for (auto _ : state) {
    ForEach(kSegment,
            [&](int64_t t) { RmsNorm(&x[t * kHidden], weight.data(), 1e-6f, kHidden, &out[t * kHidden]); });
  }
  Report(state, peaks, {.cache_bytes = 2.0 * sizeof(float) * x.size(), .operations = 4.0 * x.size()});
}

void RunRope(benchmark::State& state, const Peaks& peaks) {
  constexpr int kRotated = kHeads + kKvHeads;
  std::vector<float> x = RandomFloats(int64_t{kSegment} * kRotated * kHeadDim);
  const std::vector<float> angles = RandomFloats(kHeadDim);
  for (auto _ : state) {
    ForEach(kSegment, [&](int64_t t) {
      for (int h = 0; h < kRotated; ++h) {
        float* head = &x[(t * kRotated + h) * kHeadDim];
        Rotate(angles.data(), kHeadDim, head, head);
      }
    });
  }
  Report(state, peaks, {.cache_bytes = 2.0 * sizeof(float) * x.size(), .operations = 3.0 * x.size()});
}

void RunSiluMultiply(benchmark::State& state, const Peaks& peaks) {
  const std::vector<float> gate = RandomFloats(kSegment * kFfn), up = RandomFloats(kSegment * kFfn);
  std::vector<float> out(gate.size());
  for (auto _ : state) {
    ForEach(kSegment, [&](int64_t t) {
      ActivateMultiply(Activation::kSilu, &gate[t * kFfn], &up[t * kFfn], kFfn, &out[t * kFfn]);
    });
  }
  Report(state, peaks, {.cache_bytes = 3.0 * sizeof(float) * gate.size()});
}

// One token's logits.
void RunSoftCap(benchmark::State& state, const Peaks& peaks) {
  const std::vector<float> x = RandomFloats(kVocabulary, 100.0f);
  std::vector<float> out(x.size());
  for (auto _ : state) {
    ParallelFor(kVocabulary, 1, [&](int64_t begin, int64_t end, int) {
      SoftCap(30.0f, &x[begin], end - begin, &out[begin]);
    });
  }
  Report(state, peaks, {.cache_bytes = 2.0 * sizeof(float) * x.size()});
}

void RunDot(benchmark::State& state, const Peaks& peaks) {
  const std::vector<float> x = RandomFloats(kSegment * kHidden), weight = RandomFloats(kHidden);
  std::vector<float> out(kSegment);
  for (auto _ : state) {
    ForEach(kSegment, [&](int64_t t) { out[t] = Dot(&x[t * kHidden], weight.data(), kHidden); });
    benchmark::DoNotOptimize(out.data());
  }
  Report(state, peaks, {.cache_bytes = 1.0 * sizeof(float) * x.size(), .operations = 2.0 * x.size()});
}

void RunScaledAdd(benchmark::State& state, const Peaks& peaks) {
  const std::vector<float> x = RandomFloats(kSegment * kHidden, 1e-6f);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    ForEach(kSegment, [&](int64_t t) { ScaledAdd(0.5f, &x[t * kHidden], kHidden, &y[t * kHidden]); });
  }
  Report(state, peaks, {.cache_bytes = 3.0 * sizeof(float) * x.size(), .operations = 2.0 * x.size()});
}

}  // namespace

void RegisterPassBenchmarks(const Peaks& peaks) {
  using State = benchmark::State;
  for (const int tokens : {1, kSegment}) {
    Register(absl::StrCat("ReadMatrix/tokens:", tokens),
             [&peaks, tokens](State& state) { RunReadMatrix(state, peaks, tokens); });
  }
  Register(absl::StrCat("WriteDeltas/tokens:", kSegment),
           [&](State& state) { RunWriteDeltas(state, peaks); });
  Register(absl::StrCat("AddAssociations/tokens:", kSegment),
           [&](State& state) { RunAddAssociations(state, peaks); });
  for (const KvFormat format : kKvFormats) {
    const std::string name(KvFormatName(format));
    Register("KvStore/" + name, [&peaks, format](State& state) { RunKvStore(state, peaks, format); });
    Register("KvLoad/" + name, [&peaks, format](State& state) { RunKvLoad(state, peaks, format); });
  }
  for (const int rows : {1, kSegment}) {
    Register(absl::StrCat("QuantiseRows/rows:", rows),
             [&peaks, rows](State& state) { RunQuantiseRows(state, peaks, rows); });
  }
  Register("RmsNorm", [&](State& state) { RunRmsNorm(state, peaks); });
  Register("Rotate", [&](State& state) { RunRope(state, peaks); });
  Register("SiluMultiply", [&](State& state) { RunSiluMultiply(state, peaks); });
  Register("SoftCap", [&](State& state) { RunSoftCap(state, peaks); });
  Register("Dot", [&](State& state) { RunDot(state, peaks); });
  Register("ScaledAdd", [&](State& state) { RunScaledAdd(state, peaks); });
}

}  // namespace memgate::bench
