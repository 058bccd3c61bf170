#include "engine/kernels/dnnl_matrix.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

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

// What becomes of a product: y = it, or y += it.
enum class Result { kStored, kAdded };

dnnl::matmul::primitive_desc MatmulDesc(const dnnl::engine& engine, const dnnl::memory::desc& x,
                                        const dnnl::memory::desc& weight, const dnnl::memory::desc* bias,
                                        const dnnl::memory::desc& y, Result result) {
  dnnl::primitive_attr attributes;
  if (result == Result::kAdded) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return bias ? dnnl::matmul::primitive_desc(engine, x, weight, *bias, y, attributes)
              : dnnl::matmul::primitive_desc(engine, x, weight, y, attributes);
#else
  return bias ? dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, weight, *bias, y), attributes, engine)
              : dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, weight, y), attributes, engine);
#endif
}

absl::Status FromDnnl(const dnnl::error& error, int out_features, int in_features) {
  const std::string message =
      Concat("oneDNN: ", error.what(), " (linear layer ", in_features, " -> ", out_features, ")");
  return error.status == dnnl_out_of_memory ? absl::ResourceExhaustedError(message)
                                            : absl::InternalError(message);
}

}  // namespace

// One engine and stream per layer: they are handles to the machine's only CPU engine.
struct DnnlMatrix::Packed {
  int out_features = 0;
  int in_features = 0;
  bool has_bias = false;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  mutable dnnl::stream stream{engine};
  dnnl::memory weight;
  dnnl::memory bias;  // empty if there is none
  // By rows, for both results.
  mutable std::unordered_map<int, dnnl::matmul> storing, adding;

  dnnl::memory::desc XDesc(int rows) const { return {Dims{rows, in_features}, Type::f32, Tag::ab}; }
  dnnl::memory::desc YDesc(int rows) const { return {Dims{rows, out_features}, Type::f32, Tag::ab}; }
  dnnl::memory::desc BiasDesc() const { return {Dims{1, out_features}, Type::f32, Tag::ab}; }

  dnnl::matmul::primitive_desc Desc(int rows, const dnnl::memory::desc& weight_desc, Result result) const {
    const dnnl::memory::desc bias_desc = BiasDesc();
    return MatmulDesc(engine, XDesc(rows), weight_desc, has_bias ? &bias_desc : nullptr, YDesc(rows), result);
  }

  // oneDNN's packed layout, if its kernel computes each row by itself. That is so for the batch-reduce
  // kernels (AVX-512); its GEMM picks another order of summation for other numbers of rows.
  std::optional<dnnl::memory::desc> Layout() const {
    const dnnl::memory::desc any(Dims{in_features, out_features}, Type::f32, Tag::any);
    const dnnl::matmul::primitive_desc desc = Desc(kPackingRows, any, Result::kStored);
    if (!std::string_view(desc.impl_info_str()).starts_with("brg")) return std::nullopt;
    return desc.weights_desc();
  }

  const dnnl::matmul& Primitive(int rows, Result result) const {
    auto& primitives = result == Result::kAdded ? adding : storing;
    if (auto it = primitives.find(rows); it != primitives.end()) return it->second;
    if (primitives.size() >= kMaxCachedPrimitives) primitives.clear();
    return primitives.emplace(rows, dnnl::matmul(Desc(rows, weight.get_desc(), result))).first->second;
  }

  absl::Status Multiply(const float* x, int rows, float* y, Result result) const {
    try {
      dnnl::memory x_memory(XDesc(rows), engine, const_cast<float*>(x));
      dnnl::memory y_memory(YDesc(rows), engine, y);
      std::unordered_map<int, dnnl::memory> args{
          {DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, y_memory}};
      if (bias) args.emplace(DNNL_ARG_BIAS, bias);
      Primitive(rows, result).execute(stream, args);
      stream.wait();
    } catch (const dnnl::error& error) {
      return FromDnnl(error, out_features, in_features);
    }
    return absl::OkStatus();
  }
};

DnnlMatrix::DnnlMatrix(std::unique_ptr<Packed> packed) : packed_(std::move(packed)) {}
DnnlMatrix::DnnlMatrix(DnnlMatrix&&) noexcept = default;
DnnlMatrix& DnnlMatrix::operator=(DnnlMatrix&&) noexcept = default;
DnnlMatrix::~DnnlMatrix() = default;

std::optional<int64_t> DnnlMatrix::Bytes(int out_features, int in_features, bool has_bias) {
  try {
    Packed packed{.out_features = out_features, .in_features = in_features, .has_bias = has_bias};
    const auto layout = packed.Layout();
    if (!layout) return std::nullopt;
    return static_cast<int64_t>(layout->get_size()) +
           (has_bias ? static_cast<int64_t>(packed.BiasDesc().get_size()) : 0);
  } catch (const dnnl::error&) {
    return std::nullopt;  // what it cannot describe it cannot multiply
  }
}

absl::StatusOr<DnnlMatrix> DnnlMatrix::Pack(absl::Span<const float> weight, absl::Span<const float> bias,
                                            int out_features, int in_features) {
  RespectThreadLimit();
  try {
    auto packed = std::make_unique<Packed>();
    packed->out_features = out_features;
    packed->in_features = in_features;
    packed->has_bias = !bias.empty();
    const auto layout = packed->Layout();
    if (!layout) return absl::UnimplementedError("oneDNN's kernel on this CPU does not keep rows apart");
    if (packed->has_bias) {
      packed->bias = dnnl::memory(packed->BiasDesc(), packed->engine);
      std::copy(bias.begin(), bias.end(), static_cast<float*>(packed->bias.get_data_handle()));
    }
    packed->weight = dnnl::memory(*layout, packed->engine);
    // The stored [out, in] matrix is oneDNN's [in, out] in column-major order.
    dnnl::memory stored({Dims{in_features, out_features}, Type::f32, Tag::ba}, packed->engine,
                        const_cast<float*>(weight.data()));
    dnnl::reorder(stored, packed->weight).execute(packed->stream, stored, packed->weight);
    packed->stream.wait();
    return DnnlMatrix(std::move(packed));
  } catch (const dnnl::error& error) {
    return FromDnnl(error, out_features, in_features);
  }
}

int64_t DnnlMatrix::bytes() const {
  return static_cast<int64_t>(packed_->weight.get_desc().get_size()) +
         (packed_->bias ? static_cast<int64_t>(packed_->bias.get_desc().get_size()) : 0);
}

absl::Status DnnlMatrix::Apply(const float* x, int rows, float* y) const {
  return packed_->Multiply(x, rows, y, Result::kStored);
}

absl::Status DnnlMatrix::AddTo(const float* x, int rows, float* y) const {
  return packed_->Multiply(x, rows, y, Result::kAdded);
}

}  // namespace memgate
