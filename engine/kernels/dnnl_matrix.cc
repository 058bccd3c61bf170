#include "engine/kernels/dnnl_matrix.h"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dnnl.hpp"
#include "engine/base/strings.h"
#include "engine/kernels/parallel.h"

namespace memgate {
namespace {

using Dims = dnnl::memory::dims;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

// Row counts of decode and small prefill steps vary; larger ones come in few sizes. The cache is emptied when
// it is full: making a primitive again costs microseconds from oneDNN's own cache.
constexpr size_t kMaxCachedPrimitives = 128;
// The packed layout is chosen for a prefill step; it serves one row as well.
constexpr int kPackingRows = 256;
// oneDNN packs this many outputs together and fills up the last of them.
constexpr int kSliceUnit = 64;
// Rows that are multiplied together: enough that weights are reused from the cache, so few that a slice of
// their results stays there until it is copied out.
constexpr int kRowBlock = 128;

std::optional<Type> TypeOf(WeightFormat format) {
  if (format == WeightFormat::kF32) return Type::f32;
  if (format == WeightFormat::kBf16) return Type::bf16;
  return std::nullopt;
}

dnnl::matmul::primitive_desc MatmulDesc(const dnnl::engine& engine, const dnnl::memory::desc& x,
                                        const dnnl::memory::desc& weight, const dnnl::memory::desc* bias,
                                        const dnnl::memory::desc& y) {
  // oneDNN's own scratch belongs to the thread that makes a primitive; another one may execute it.
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return bias ? dnnl::matmul::primitive_desc(engine, x, weight, *bias, y, attr)
              : dnnl::matmul::primitive_desc(engine, x, weight, y, attr);
#else
  return bias ? dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, weight, *bias, y), attr, engine)
              : dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, weight, y), attr, engine);
#endif
}

absl::Status FromDnnl(const dnnl::error& error, int out_features, int in_features) {
  const std::string message =
      Concat("oneDNN: ", error.what(), " (linear layer ", in_features, " -> ", out_features, ")");
  return error.status == dnnl_out_of_memory ? absl::ResourceExhaustedError(message)
                                            : absl::InternalError(message);
}

// oneDNN splits a primitive by the OpenMP threads that the calling thread may use, when it is made and when
// it is executed. Every thread that calls oneDNN says first that it is one only.
void KeepOpenMpOut() { omp_set_num_threads(1); }

// To nearest, ties to even; NaN stays NaN.
uint16_t BFloat16FromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const uint32_t quiet_nan = bits >> 16 | 0x40;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : rounded);
}

std::vector<uint16_t> ToBFloat16(const float* x, int rows, int in_features) {
  std::vector<uint16_t> converted(static_cast<size_t>(rows) * in_features);
  ParallelFor(rows, LeastItems(in_features), [&](int64_t begin, int64_t end, int) {
    std::transform(x + begin * in_features, x + end * in_features, converted.data() + begin * in_features,
                   BFloat16FromFloat);
  });
  return converted;
}

// What becomes of a product: y = it, or y += it.
enum class Result { kStored, kAdded };

// Outputs [begin, begin + outputs) of a matrix.
struct Slice {
  int begin = 0;
  int outputs = 0;
  dnnl::memory weight;
  dnnl::memory bias;  // empty if there is none
};

struct Matmul {
  dnnl::matmul primitive;
  dnnl::memory::desc x, y, scratch;
};

}  // namespace

struct DnnlMatrix::Packed {
  int out_features = 0;
  int in_features = 0;
  bool has_bias = false;
  Type type = Type::f32;  // of weights and x
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::vector<Slice> slices;
  mutable std::map<std::pair<int, int>, Matmul> matmuls;  // by outputs and rows

  dnnl::memory::desc BiasDesc(int outputs) const { return {Dims{1, outputs}, Type::f32, Tag::ab}; }

  dnnl::matmul::primitive_desc Desc(int rows, int outputs, const dnnl::memory::desc& weight) const {
    const dnnl::memory::desc bias = BiasDesc(outputs);
    return MatmulDesc(engine, {Dims{rows, in_features}, type, Tag::ab}, weight, has_bias ? &bias : nullptr,
                      {Dims{rows, outputs}, Type::f32, Tag::ab});
  }

  // oneDNN's packed layout, if its kernel computes each row by itself. That is so for the batch-reduce
  // kernels of AVX-512. Its GEMM picks another order of summation for other numbers of rows, and its kernels
  // for AMX may: they split the inputs by the rows of a block.
  std::optional<dnnl::memory::desc> Layout(int outputs) const {
    const dnnl::matmul::primitive_desc desc =
        Desc(kPackingRows, outputs, {Dims{in_features, outputs}, type, Tag::any});
    const std::string_view kernel = desc.impl_info_str();
    if (!kernel.starts_with("brg") || kernel.find("amx") != kernel.npos) return std::nullopt;
    return desc.weights_desc();
  }

  // One slice for each compute thread, as even as the unit allows. Without memory.
  std::vector<Slice> EmptySlices() const {
    const int units = (out_features + kSliceUnit - 1) / kSliceUnit;
    const int count = std::min(units, ComputeThreads());
    std::vector<Slice> empty(count);
    for (int i = 0; i < count; ++i) {
      empty[i].begin = static_cast<int>(int64_t{units} * i / count) * kSliceUnit;
      const int end = static_cast<int>(int64_t{units} * (i + 1) / count) * kSliceUnit;
      empty[i].outputs = std::min(end, out_features) - empty[i].begin;
    }
    return empty;
  }

  // REQUIRES: there is a layout.
  void PackSlice(const float* weights, const float* biases, Slice& slice) {
    // The stored [out, in] matrix is oneDNN's [in, out] in column-major order.
    dnnl::memory stored({Dims{in_features, slice.outputs}, Type::f32, Tag::ba}, engine,
                        const_cast<float*>(weights + int64_t{slice.begin} * in_features));
    slice.weight = dnnl::memory(*Layout(slice.outputs), engine);
    dnnl::stream stream(engine);
    dnnl::reorder(stored, slice.weight).execute(stream, stored, slice.weight);
    stream.wait();
    if (!has_bias) return;
    slice.bias = dnnl::memory(BiasDesc(slice.outputs), engine);
    std::copy_n(biases + slice.begin, slice.outputs, static_cast<float*>(slice.bias.get_data_handle()));
  }

  // Makes what blocks of `rows` rows need, so that threads only look it up.
  void PrepareMatmuls(int rows) const {
    for (const Slice& slice : slices) {
      const std::pair key(slice.outputs, rows);
      if (matmuls.contains(key)) continue;
      const auto desc = Desc(rows, slice.outputs, slice.weight.get_desc());
      matmuls.emplace(key,
                      Matmul{dnnl::matmul(desc), desc.src_desc(), desc.dst_desc(), desc.scratchpad_desc()});
    }
  }

  // y: [rows, slice.outputs].
  void Multiply(const Slice& slice, const void* x, int rows, float* y) const {
    const Matmul& matmul = matmuls.at({slice.outputs, rows});
    std::unordered_map<int, dnnl::memory> args{
        {DNNL_ARG_SRC, dnnl::memory(matmul.x, engine, const_cast<void*>(x))},
        {DNNL_ARG_WEIGHTS, slice.weight},
        {DNNL_ARG_DST, dnnl::memory(matmul.y, engine, y)},
        {DNNL_ARG_SCRATCHPAD, dnnl::memory(matmul.scratch, engine)}};
    if (slice.bias) args.emplace(DNNL_ARG_BIAS, slice.bias);
    dnnl::stream stream(engine);
    matmul.primitive.execute(stream, args);
    stream.wait();
  }

  // y: [rows, out_features], of which the columns of `slice` are written. oneDNN's batch-reduce kernels write
  // dense results only.
  void MultiplyInto(const Slice& slice, const void* x, int rows, float* y, Result result) const {
    y += slice.begin;
    const bool dense_y = rows == 1 || slice.outputs == out_features;
    if (dense_y && result == Result::kStored) return Multiply(slice, x, rows, y);
    const auto dense = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(rows) * slice.outputs);
    Multiply(slice, x, rows, dense.get());
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = &dense[r * slice.outputs];
      float* to = y + r * out_features;
      if (result == Result::kStored) {
        std::copy_n(from, slice.outputs, to);
      } else {
        for (int i = 0; i < slice.outputs; ++i) to[i] += from[i];
      }
    }
  }

  // x: [rows, in_features] of `type`.
  void MultiplyAll(const std::byte* x, int rows, float* y, Result result) const {
    if (matmuls.size() >= kMaxCachedPrimitives) matmuls.clear();
    for (const int block : {std::min(rows, kRowBlock), rows % kRowBlock}) {
      if (block > 0) PrepareMatmuls(block);
    }
    const int64_t blocks = (int64_t{rows} + kRowBlock - 1) / kRowBlock;
    const int64_t tasks = blocks * static_cast<int64_t>(slices.size());
    const int64_t operations = int64_t{rows} * out_features * in_features / tasks;
    const int64_t row_bytes = int64_t{in_features} * (type == Type::f32 ? 4 : 2);
    std::vector<std::exception_ptr> thrown(ComputeThreads());  // a range must not throw
    ParallelFor(tasks, LeastItems(operations), [&](int64_t begin, int64_t end, int worker) {
      KeepOpenMpOut();
      try {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t row = task % blocks * kRowBlock;
          const int count = static_cast<int>(std::min<int64_t>(kRowBlock, rows - row));
          MultiplyInto(slices[task / blocks], x + row * row_bytes, count, y + row * out_features, result);
        }
      } catch (...) {
        thrown[worker] = std::current_exception();
      }
    });
    for (const std::exception_ptr& exception : thrown) {
      if (exception) std::rethrow_exception(exception);
    }
  }

  absl::Status Run(const float* x, int rows, float* y, Result result) const {
    if (rows == 0) return absl::OkStatus();
    KeepOpenMpOut();
    try {
      if (type == Type::f32) {
        MultiplyAll(reinterpret_cast<const std::byte*>(x), rows, y, result);
      } else {
        const std::vector<uint16_t> converted = ToBFloat16(x, rows, in_features);
        MultiplyAll(reinterpret_cast<const std::byte*>(converted.data()), rows, y, result);
      }
      return absl::OkStatus();
    } catch (const dnnl::error& error) {
      return FromDnnl(error, out_features, in_features);
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError(Concat("no memory to multiply ", rows, " rows (linear layer ",
                                                 in_features, " -> ", out_features, ")"));
    }
  }
};

DnnlMatrix::DnnlMatrix(std::unique_ptr<Packed> packed) : packed_(std::move(packed)) {}
DnnlMatrix::DnnlMatrix(DnnlMatrix&&) noexcept = default;
DnnlMatrix& DnnlMatrix::operator=(DnnlMatrix&&) noexcept = default;
DnnlMatrix::~DnnlMatrix() = default;

std::optional<int64_t> DnnlMatrix::Bytes(int out_features, int in_features, bool has_bias,
                                         WeightFormat format) {
  const auto type = TypeOf(format);
  if (!type) return std::nullopt;
  KeepOpenMpOut();
  try {
    const Packed packed{
        .out_features = out_features, .in_features = in_features, .has_bias = has_bias, .type = *type};
    int64_t bytes = has_bias ? out_features * int64_t{sizeof(float)} : 0;
    for (const Slice& slice : packed.EmptySlices()) {
      const auto layout = packed.Layout(slice.outputs);
      if (!layout) return std::nullopt;
      bytes += static_cast<int64_t>(layout->get_size());
    }
    return bytes;
  } catch (const dnnl::error&) {
    return std::nullopt;  // what it cannot describe it cannot multiply
  }
}

absl::StatusOr<DnnlMatrix> DnnlMatrix::Pack(absl::Span<const float> weight, absl::Span<const float> bias,
                                            int out_features, int in_features, WeightFormat format) {
  if (!Bytes(out_features, in_features, !bias.empty(), format)) {
    return absl::UnimplementedError(Concat("this CPU or build of oneDNN has no ", WeightFormatName(format),
                                           " kernel that computes each row by itself"));
  }
  KeepOpenMpOut();
  try {
    auto packed = std::make_unique<Packed>();
    packed->out_features = out_features;
    packed->in_features = in_features;
    packed->has_bias = !bias.empty();
    packed->type = *TypeOf(format);
    packed->slices = packed->EmptySlices();
    for (Slice& slice : packed->slices) packed->PackSlice(weight.data(), bias.data(), slice);
    return DnnlMatrix(std::move(packed));
  } catch (const dnnl::error& error) {
    return FromDnnl(error, out_features, in_features);
  }
}

int64_t DnnlMatrix::bytes() const {
  int64_t bytes = 0;
  for (const Slice& slice : packed_->slices) {
    bytes += static_cast<int64_t>(slice.weight.get_desc().get_size());
    if (slice.bias) bytes += static_cast<int64_t>(slice.bias.get_desc().get_size());
  }
  return bytes;
}

absl::Status DnnlMatrix::Apply(const float* x, int rows, float* y) const {
  return packed_->Run(x, rows, y, Result::kStored);
}

absl::Status DnnlMatrix::AddTo(const float* x, int rows, float* y) const {
  return packed_->Run(x, rows, y, Result::kAdded);
}

}  // namespace memgate
