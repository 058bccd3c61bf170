// memgate-bench-kernels: each kernel against what the machine reaches in the same run (peaks.h).
//
//   memgate-bench-kernels [--threads N] [--peaks] [--tokenizer FOLDER] [--benchmark_filter=REGEX ...]
//
// "roofline" is the share: the time that the kernel's bytes or operations would take at the peak, whichever
// is longer, over the time it took. --peaks prints the peaks alone, as JSON. The
// masks of structured output (structured_bench.h) are timed on made-up vocabularies, or on that of
// --tokenizer.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "engine/kernels/aligned_bytes.h"
#include "engine/kernels/attend.h"
#include "engine/kernels/kv_rows.h"
#include "engine/kernels/linear.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/weight_format.h"
#include "tests/bench/benchmarking.h"
#include "tests/bench/dnnl_bytes.h"
#include "tests/bench/pass_benchmarks.h"
#include "tests/bench/peaks.h"
#include "tests/bench/sampling_benchmarks.h"
#include "tests/bench/structured_bench.h"

namespace memgate::bench {
namespace {

constexpr int kSessionRows = 16 + 1024 + kSegment + 256;  // sinks, window, segment, slots
constexpr int64_t kColdBytes = int64_t{256} << 20;        // weights in turn, so that none is found in a cache

// Which peak bounds the multiply-adds of a weight format: int4 is unpacked and multiplied as bytes. A format
// that is added to weight_format.h gets a line here.
struct BenchedFormat {
  WeightFormat format;
  double Peaks::*operations_per_s;
};
constexpr BenchedFormat kFormats[] = {{WeightFormat::kInt8, &Peaks::int8_operations_per_s},
                                      {WeightFormat::kInt4, &Peaks::int8_operations_per_s},
                                      {WeightFormat::kBf16, &Peaks::f32_operations_per_s},
                                      {WeightFormat::kF32, &Peaks::f32_operations_per_s}};

// Linear layers.

struct Layer {
  const char* name;
  int out_features, in_features;
  bool gated;                 // two matrices of this size
  bool keeps_8_bits = false;  // where other layers have 4 (engine/model/weights.h)

  int64_t weights() const { return int64_t{gated ? 2 : 1} * out_features * in_features; }
};
constexpr Layer kModelLayers[] = {{"qkv", (kHeads + 2 * kKvHeads) * kHeadDim, kHidden, false},
                                  {"gate_up", kFfn, kHidden, true},
                                  {"down", kHidden, kFfn, false},
                                  {"head", kVocabulary, kHidden, false, true}};

// Copies of one layer, more than caches hold. Only the last one asked for is kept.
class ColdLayers {
 public:
  absl::StatusOr<absl::Span<const Linear>> Get(const Layer& layer, WeightFormat format) {
    if (layer_ == &layer && format_ == format && !copies_.empty()) return copies_;
    copies_.clear();
    layer_ = &layer;
    format_ = format;
    const std::vector<float> weight = RandomFloats(layer.weights(), 0.03f);
    const LinearShape shape = {.format = format,
                               .out_features = layer.out_features,
                               .in_features = layer.in_features,
                               .gated = layer.gated};
    for (int64_t i = 0; i <= kColdBytes / Linear::PackedBytes(shape); ++i) {
      auto copy = Linear::Pack(shape, weight, {});
      if (!copy.ok()) {
        copies_.clear();
        return copy.status();
      }
      copies_.push_back(*std::move(copy));
    }
    return copies_;
  }

 private:
  const Layer* layer_ = nullptr;
  WeightFormat format_ = WeightFormat::kF32;
  std::vector<Linear> copies_;
};

void RunLinear(benchmark::State& state, const Peaks& peaks, ColdLayers& cold, const Layer& layer,
               const BenchedFormat& format, int rows) {
  const auto copies = cold.Get(layer, format.format);
  if (!copies.ok()) return state.SkipWithError(copies.status().ToString().c_str());
  const std::vector<float> x = RandomFloats(int64_t{rows} * layer.in_features);
  std::vector<float> y(int64_t{rows} * layer.out_features);
  AlignedBytes scratch(Linear::ScratchBytes((*copies)[0].shape(), rows));
  size_t next = 0;
  for (auto _ : state) {
    const Linear& copy = (*copies)[next++ % copies->size()];
    const auto status = layer.gated ? copy.ApplyGated(x.data(), rows, y.data(), scratch.span())
                                    : copy.Apply(x.data(), rows, y.data(), scratch.span());
    if (!status.ok()) return state.SkipWithError(status.ToString().c_str());
  }
  Report(state, peaks,
         {.memory_bytes = static_cast<double>((*copies)[0].packed_bytes()),
          .operations = 2.0 * rows * layer.weights(),
          .operations_per_s = format.operations_per_s});
}

// Copies of oneDNN's product of one layer. Only those last asked for are kept.
class ColdDnnlBytes {
 public:
  absl::Span<const DnnlBytes> Get(const Layer& layer, int rows) {
    if (layer_ == &layer && rows_ == rows) return copies_;
    copies_.clear();
    layer_ = &layer;
    rows_ = rows;
    const int outputs = (layer.gated ? 2 : 1) * layer.out_features;
    for (int64_t i = 0; i <= kColdBytes / layer.weights(); ++i) {
      copies_.emplace_back(outputs, layer.in_features, rows, ComputeThreads());
    }
    return copies_;
  }

 private:
  const Layer* layer_ = nullptr;
  int rows_ = 0;
  std::vector<DnnlBytes> copies_;
};

// The integer product alone, by oneDNN.
void RunDnnlBytes(benchmark::State& state, const Peaks& peaks, ColdDnnlBytes& cold, const Layer& layer,
                  int rows) {
  const absl::Span<const DnnlBytes> copies = cold.Get(layer, rows);
  size_t next = 0;
  for (auto _ : state) copies[next++ % copies.size()].Multiply();
  Report(state, peaks,
         {.memory_bytes = static_cast<double>(layer.weights()),
          .operations = 2.0 * rows * layer.weights(),
          .operations_per_s = &Peaks::int8_operations_per_s});
}

// Attention of one token, or of a block of tokens, in all layers: keys and values of `rows` tokens per KV
// head.
void RunAttend(benchmark::State& state, const Peaks& peaks, KvFormat format, int rows, int tokens) {
  constexpr int kGroup = kHeads / kKvHeads, kHeadsInAll = kLayers * kKvHeads;
  const int queries = tokens * kGroup;
  const int64_t held = int64_t{kHeadsInAll} * rows;
  std::vector<std::byte> bytes(2 * held * KvRowBytes(format, kHeadDim));
  const KvRows keys(format, kHeadDim, bytes.data()), values = keys.From(held);
  const std::vector<float> x = RandomFloats(2 * held * kHeadDim);
  for (int64_t row = 0; row < 2 * held; ++row) keys.Store(row, &x[row * kHeadDim]);
  const std::vector<float> q = RandomFloats(int64_t{queries} * kHeadDim);
  std::vector<float> out(int64_t{kHeadsInAll} * queries * kHeadDim);
  for (auto _ : state) {
    ForEach(kHeadsInAll, [&](int64_t head) {
      const AttendRun run = {q.data(), keys.From(head * rows), values.From(head * rows), rows};
      Attend({&run, 1},
             {.count = queries,
              .per_token = kGroup,
              .first_limit = rows - tokens + 1,
              .head_dim = kHeadDim,
              .scale = 0.125f},
             &out[head * queries * kHeadDim]);
    });
  }
  Report(state, peaks,
         {.memory_bytes = static_cast<double>(bytes.size()), .operations = 4.0 * held * queries * kHeadDim});
}

void RegisterProducts(const Peaks& peaks, ColdLayers& cold, ColdDnnlBytes& dnnl_bytes) {
  for (const BenchedFormat& format : kFormats) {
    for (const Layer& layer : kModelLayers) {
      if (format.format == WeightFormat::kInt4 && layer.keeps_8_bits) continue;
      for (const int rows : {1, 8, 256}) {
        Register(
            absl::StrCat("Linear/", Text(WeightFormatName(format.format)), "/", layer.name, "/rows:", rows),
            [&, rows](benchmark::State& state) { RunLinear(state, peaks, cold, layer, format, rows); });
      }
    }
  }
  for (const Layer& layer : kModelLayers) {
    for (const int rows : {1, 8, 256}) {
      Register(absl::StrCat("oneDNN u8 x s8/", layer.name, "/rows:", rows),
               [&, rows](benchmark::State& state) { RunDnnlBytes(state, peaks, dnnl_bytes, layer, rows); });
    }
  }
  for (const KvFormat format : kKvFormats) {
    for (const int rows : {kSessionRows, 8192}) {
      for (const int tokens : {1, 18}) {  // 18 tokens: the 126 queries that attention takes together
        Register(absl::StrCat("Attend/", Text(KvFormatName(format)), "/rows:", rows, "/tokens:", tokens),
                 [=, &peaks](benchmark::State& state) { RunAttend(state, peaks, format, rows, tokens); });
      }
    }
  }
}

// Takes "--threads N", "--tokenizer FOLDER" and "--peaks" out of the arguments; the others are for the
// benchmark library.
struct Arguments {
  int threads = 0;
  bool only_peaks = false;
  std::string tokenizer_folder;
  std::vector<char*> others;
};

bool Parse(int argc, char** argv, Arguments* arguments) {
  for (int i = 0; i < argc; ++i) {
    if (std::strcmp(argv[i], "--peaks") == 0) {
      arguments->only_peaks = true;
    } else if (std::strcmp(argv[i], "--tokenizer") == 0) {
      if (++i == argc) return false;
      arguments->tokenizer_folder = argv[i];
    } else if (std::strcmp(argv[i], "--threads") == 0) {
      if (++i == argc || !absl::SimpleAtoi(argv[i], &arguments->threads) || arguments->threads < 0)
        return false;
    } else {
      arguments->others.push_back(argv[i]);
    }
  }
  return true;
}

int Main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments)) {
    std::fprintf(stderr, "memgate-bench-kernels: --threads takes a whole number, --tokenizer a folder\n");
    return 2;
  }
  int count = static_cast<int>(arguments.others.size());
  benchmark::Initialize(&count, arguments.others.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.others.data())) return 2;
  SetComputeThreads(arguments.threads);
  const Peaks peaks = MeasurePeaks();
  const std::vector<std::pair<const char*, std::string>> reached = {
      {"read_gb_per_s", absl::StrFormat("%.2f", peaks.read_bytes_per_s / 1e9)},
      {"cache_gb_per_s", absl::StrFormat("%.1f", peaks.cache_bytes_per_s / 1e9)},
      {"f32_gflop_per_s", absl::StrFormat("%.1f", peaks.f32_operations_per_s / 1e9)},
      {"int8_gop_per_s", absl::StrFormat("%.1f", peaks.int8_operations_per_s / 1e9)}};
  if (arguments.only_peaks) {
    std::printf("{%s}\n", absl::StrJoin(reached, ", ", [](std::string* out, const auto& peak) {
                            absl::StrAppend(out, "\"", peak.first, "\": ", peak.second);
                          }).c_str());
    return EXIT_SUCCESS;
  }
  for (const auto& [name, value] : reached) benchmark::AddCustomContext(name, value);
  ColdLayers cold;
  ColdDnnlBytes dnnl_bytes;
  RegisterProducts(peaks, cold, dnnl_bytes);
  RegisterPassBenchmarks(peaks);
  RegisterSamplingBenchmarks(peaks);
  RegisterStructuredBenchmarks(arguments.tokenizer_folder);
  benchmark::RunSpecifiedBenchmarks();
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace memgate::bench

int main(int argc, char** argv) { return memgate::bench::Main(argc, argv); }
