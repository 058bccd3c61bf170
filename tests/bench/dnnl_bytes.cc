#include "tests/bench/dnnl_bytes.h"

#include <omp.h>

#include <cstring>
#include <unordered_map>

#include "dnnl.hpp"

namespace memgate::bench {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

dnnl::matmul::primitive_desc Describe(const dnnl::engine& engine, int out_features, int in_features,
                                      int rows) {
  const dnnl::memory::desc x({rows, in_features}, Type::u8, Tag::ab);
  const dnnl::memory::desc weights({in_features, out_features}, Type::s8, Tag::any);
  const dnnl::memory::desc y({rows, out_features}, Type::s32, Tag::ab);
#if DNNL_VERSION_MAJOR >= 3
  return {engine, x, weights, y};
#else
  return {dnnl::matmul::desc(x, weights, y), engine};
#endif
}

}  // namespace

struct DnnlBytes::Product {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul primitive;
  std::unordered_map<int, dnnl::memory> arguments;
};

DnnlBytes::DnnlBytes(int out_features, int in_features, int rows, int threads)
    : product_(std::make_unique<Product>()) {
  omp_set_num_threads(threads);
  const auto desc = Describe(product_->engine, out_features, in_features, rows);
  product_->primitive = dnnl::matmul(desc);
  const auto add = [&](int argument, const dnnl::memory::desc& of) {
    dnnl::memory memory(of, product_->engine);
    std::memset(memory.get_data_handle(), 1, of.get_size());
    product_->arguments.emplace(argument, std::move(memory));
  };
  add(DNNL_ARG_SRC, desc.src_desc());
  add(DNNL_ARG_WEIGHTS, desc.weights_desc());
  add(DNNL_ARG_DST, desc.dst_desc());
}

DnnlBytes::~DnnlBytes() = default;
DnnlBytes::DnnlBytes(DnnlBytes&&) noexcept = default;

void DnnlBytes::Multiply() const {
  product_->primitive.execute(product_->stream, product_->arguments);
  product_->stream.wait();
}

}  // namespace memgate::bench
