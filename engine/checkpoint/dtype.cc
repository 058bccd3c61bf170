#include "engine/checkpoint/dtype.h"

#include <bit>
#include <cassert>
#include <cstring>
#include <iterator>

#include "engine/checkpoint/ggml_blocks.h"

namespace memgate {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian and read in place");

void DecodeF32(const uint8_t* data, absl::Span<float> out) {
  std::memcpy(out.data(), data, out.size() * sizeof(float));
}

template <float (*kConvert)(uint16_t)>
void DecodeHalves(const uint8_t* data, absl::Span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t value;
    std::memcpy(&value, data + i * sizeof(value), sizeof(value));  // may be unaligned
    out[i] = kConvert(value);
  }
}

// bfloat16 is the upper half of f32.
float BFloat16ToFloat(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

template <typename Block>
void DecodeBlocks(const uint8_t* data, absl::Span<float> out) {
  float* end = out.data() + out.size();
  for (float* at = out.data(); at != end; at += Block::kElements, data += Block::kBytes) {
    Block::Decode(data, at);
  }
}

struct DTypeTraits {
  DType dtype;
  std::string_view name;
  int block_elements;
  int block_bytes;
  void (*decode)(const uint8_t* data, absl::Span<float> out);
};

template <typename Block>
constexpr DTypeTraits Quantised(DType dtype, std::string_view name) {
  return {dtype, name, Block::kElements, Block::kBytes, &DecodeBlocks<Block>};
}

// In the order of the enum.
constexpr DTypeTraits kTraits[] = {
    {DType::kF32, "F32", 1, 4, &DecodeF32},
    {DType::kF16, "F16", 1, 2, &DecodeHalves<HalfToFloat>},
    {DType::kBF16, "BF16", 1, 2, &DecodeHalves<BFloat16ToFloat>},
    Quantised<BlockQ8_0>(DType::kQ8_0, "Q8_0"),
    Quantised<BlockQ4_0>(DType::kQ4_0, "Q4_0"),
    Quantised<BlockQ4_1>(DType::kQ4_1, "Q4_1"),
    Quantised<BlockQ5_0>(DType::kQ5_0, "Q5_0"),
    Quantised<BlockQ5_1>(DType::kQ5_1, "Q5_1"),
    Quantised<BlockQ2_K>(DType::kQ2_K, "Q2_K"),
    Quantised<BlockQ3_K>(DType::kQ3_K, "Q3_K"),
    Quantised<BlockQ4_K>(DType::kQ4_K, "Q4_K"),
    Quantised<BlockQ5_K>(DType::kQ5_K, "Q5_K"),
    Quantised<BlockQ6_K>(DType::kQ6_K, "Q6_K"),
    Quantised<BlockIQ4_NL>(DType::kIQ4_NL, "IQ4_NL"),
    Quantised<BlockIQ4_XS>(DType::kIQ4_XS, "IQ4_XS"),
};

constexpr bool IsInOrder() {
  for (size_t i = 0; i < std::size(kTraits); ++i) {
    if (kTraits[i].dtype != static_cast<DType>(i)) return false;
  }
  return std::size(kTraits) == static_cast<size_t>(DType::kIQ4_XS) + 1;
}
static_assert(IsInOrder());

const DTypeTraits& TraitsOf(DType dtype) { return kTraits[static_cast<size_t>(dtype)]; }

}  // namespace

std::string_view DTypeName(DType dtype) { return TraitsOf(dtype).name; }

int64_t BlockElements(DType dtype) { return TraitsOf(dtype).block_elements; }

int64_t DTypeBytes(DType dtype, int64_t elements) {
  const DTypeTraits& traits = TraitsOf(dtype);
  assert(elements % traits.block_elements == 0);
  return elements / traits.block_elements * traits.block_bytes;
}

void DecodeElements(DType dtype, const std::byte* data, absl::Span<float> out) {
  const DTypeTraits& traits = TraitsOf(dtype);
  assert(out.size() % traits.block_elements == 0);
  if (!out.empty()) traits.decode(reinterpret_cast<const uint8_t*>(data), out);
}

}  // namespace memgate
