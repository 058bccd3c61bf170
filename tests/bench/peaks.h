// What this machine reaches: the roofs that kernels are held against (roofline model,
// doi 10.1145/1498765.1498785).
#ifndef MEMGATE_TESTS_BENCH_PEAKS_H_
#define MEMGATE_TESTS_BENCH_PEAKS_H_

namespace memgate::bench {

// All threads together.
struct Peaks {
  double read_bytes_per_s = 0;   // streaming read of an array far larger than all caches
  double cache_bytes_per_s = 0;  // the same of an array per thread that fits the second-level cache
  double f32_operations_per_s =
      0;  // register-blocked f32 product from the first-level cache; a multiply-add is two
  double int8_operations_per_s = 0;  // the same of bytes into 32-bit sums; by 16-bit products without VNNI
};

// Measures for about two seconds on the compute threads of the calling thread (kernels/parallel.h), each peak
// as the best of several tries: the rest of the machine may be busy.
Peaks MeasurePeaks();

}  // namespace memgate::bench

#endif  // MEMGATE_TESTS_BENCH_PEAKS_H_
