// oneDNN's product of bytes, to stand beside ours in the kernel benchmark.
#ifndef MEMGATE_TESTS_BENCH_DNNL_BYTES_H_
#define MEMGATE_TESTS_BENCH_DNNL_BYTES_H_

#include <cstdint>
#include <memory>

namespace memgate::bench {

// y = x W^T as integers, u8 x s8 -> s32: without the quantising of x before it and the scales, correction and
// bias behind it, which are part of ours. Weights are all one, in the layout that oneDNN likes best; the
// threads are OpenMP's. Not thread-safe. dnnl::error (an exception) is thrown where oneDNN refuses.
class DnnlBytes {
 public:
  DnnlBytes(int out_features, int in_features, int rows, int threads);
  ~DnnlBytes();
  DnnlBytes(DnnlBytes&&) noexcept;

  void Multiply() const;

 private:
  struct Product;
  std::unique_ptr<Product> product_;
};

}  // namespace memgate::bench

#endif  // MEMGATE_TESTS_BENCH_DNNL_BYTES_H_
