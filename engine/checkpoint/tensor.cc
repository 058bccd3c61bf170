#include "engine/checkpoint/tensor.h"

#include <bit>
#include <cassert>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace memgate {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian and read in place");

// Every half is exact in f32: 11 significant bits, exponents -24..15.
float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, a normal f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  // 31 marks infinity and NaN in f16, 255 in f32; other exponents move from bias 15 to bias 127.
  const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

// bfloat16 is the upper half of f32.
float BFloat16ToFloat(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

template <typename Convert>
void ConvertHalves(const std::byte* data, absl::Span<float> out, Convert convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t value;
    std::memcpy(&value, data + i * sizeof(value), sizeof(value));  // may be unaligned
    out[i] = convert(value);
  }
}

}  // namespace

size_t DTypeBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
  }
  return "unknown";
}

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

void ToFloat(const TensorView& view, absl::Span<float> out) {
  assert(static_cast<int64_t>(out.size()) == view.elements());
  if (out.empty()) return;
  switch (view.dtype) {
    case DType::kF32:
      std::memcpy(out.data(), view.data, out.size() * sizeof(float));
      return;
    case DType::kF16:
      ConvertHalves(view.data, out, HalfToFloat);
      return;
    case DType::kBF16:
      ConvertHalves(view.data, out, BFloat16ToFloat);
      return;
  }
}

absl::StatusOr<TensorView> FindShaped(const TensorSource& source, std::string_view name,
                                      absl::Span<const int64_t> shape) {
  absl::StatusOr<TensorView> view = source.Find(name);
  if (!view.ok()) return view;
  if (absl::MakeConstSpan(view->shape) != shape) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", std::string(name), "\" has shape [",
                                                   absl::StrJoin(view->shape, ", "), "], expected [",
                                                   absl::StrJoin(shape, ", "), "]"));
  }
  return view;
}

}  // namespace memgate
