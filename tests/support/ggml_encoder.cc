#include "tests/support/ggml_encoder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace memgate {
namespace {

void Append(uint16_t value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Rounded towards zero. For positive numbers.
uint16_t ToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const int exponent = static_cast<int>(bits >> 23) - 127 + 15;
  if (exponent <= 0) return 0;
  if (exponent >= 31) std::fprintf(stderr, "a scale is too large for f16\n"), std::abort();
  return static_cast<uint16_t>(exponent << 10 | (bits >> 13 & 0x3ff));
}

int Rounded(float value, int low, int high) {
  return std::clamp(static_cast<int>(std::lround(value)), low, high);
}

void EncodeBf16(absl::Span<const float> values, std::string& out) {
  for (const float value : values) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    Append(static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16), out);
  }
}

// 32 elements.
void EncodeQ8_0(absl::Span<const float> block, std::string& out) {
  float largest = 0;
  for (const float value : block) largest = std::max(largest, std::abs(value));
  const float scale = largest / 127;
  Append(ToHalf(scale), out);
  for (const float value : block) {
    out.push_back(static_cast<char>(scale > 0 ? Rounded(value / scale, -127, 127) : 0));
  }
}

// 256 elements in eight groups; an element is its group's scale times 4 bits less the group's minimum. Scales
// and minima are 6 bits times a number of the block.
void EncodeQ4_K(absl::Span<const float> block, std::string& out) {
  constexpr int kGroups = 8, kGroupSize = 32, kLargest = 63;
  float scales[kGroups], minima[kGroups], largest_scale = 0, largest_minimum = 0;
  for (int g = 0; g < kGroups; ++g) {
    const auto group = block.subspan(g * kGroupSize, kGroupSize);
    const auto [low, high] = std::minmax_element(group.begin(), group.end());
    minima[g] = std::max(0.0f, -*low);
    scales[g] = std::max(0.0f, *high + minima[g]) / 15;
    largest_scale = std::max(largest_scale, scales[g]);
    largest_minimum = std::max(largest_minimum, minima[g]);
  }
  const float scale = largest_scale / kLargest, minimum = largest_minimum / kLargest;
  Append(ToHalf(scale), out);
  Append(ToHalf(minimum), out);
  uint8_t packed[12] = {}, low_bits[128] = {};
  for (int g = 0; g < kGroups; ++g) {
    const int s = scale > 0 ? Rounded(scales[g] / scale, 0, kLargest) : 0;
    const int m = minimum > 0 ? Rounded(minima[g] / minimum, 0, kLargest) : 0;
    if (g < 4) {
      packed[g] |= s;
      packed[g + 4] |= m;
    } else {
      packed[g + 4] |= (s & 15) | (m & 15) << 4;
      packed[g - 4] |= (s >> 4) << 6;
      packed[g] |= (m >> 4) << 6;
    }
    for (int j = 0; j < kGroupSize; ++j) {
      const float value = block[g * kGroupSize + j] + static_cast<float>(m) * minimum;
      const int element = s > 0 ? Rounded(value / (static_cast<float>(s) * scale), 0, 15) : 0;
      low_bits[kGroupSize * (g / 2) + j] |= element << (4 * (g % 2));
    }
  }
  out.append(reinterpret_cast<const char*>(packed), sizeof(packed));
  out.append(reinterpret_cast<const char*>(low_bits), sizeof(low_bits));
}

}  // namespace

std::string EncodeElements(DType dtype, absl::Span<const float> values) {
  std::string out;
  if (dtype == DType::kF32) out.assign(reinterpret_cast<const char*>(values.data()), values.size() * 4);
  if (dtype == DType::kBF16) EncodeBf16(values, out);
  const auto encode = dtype == DType::kQ8_0 ? &EncodeQ8_0 : dtype == DType::kQ4_K ? &EncodeQ4_K : nullptr;
  const int64_t block = BlockElements(dtype);
  for (; encode != nullptr && !values.empty(); values.remove_prefix(block)) {
    encode(values.first(block), out);
  }
  if (out.empty()) std::fprintf(stderr, "no numbers of this type\n"), std::abort();
  return out;
}

}  // namespace memgate
