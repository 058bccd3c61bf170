// Layouts, with the bytes of each part; f16 and other numbers are little-endian. "Low half first" means that
// byte j holds element j in its low and element j + 16 (or j + 32) in its high bits.
#include "engine/checkpoint/ggml_blocks.h"

#include <array>
#include <bit>
#include <cstring>

namespace memgate {
namespace {

float ReadHalf(const uint8_t* at) {
  uint16_t half;
  std::memcpy(&half, at, sizeof(half));
  return HalfToFloat(half);
}

uint32_t ReadU32(const uint8_t* at) {
  uint32_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

// The 16 values that an element of IQ4_NL and IQ4_XS can have, before its scale.
constexpr std::array<int8_t, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

// Scale and minimum of the eight groups of Q4_K and Q5_K, 6 bits each in 12 bytes: the first four scales and
// minima in the low bits of bytes 0-3 and 4-7; the others have their low four bits in bytes 8-11 (scale low
// half, minimum high half) and their high two bits on top of bytes 0-3 and 4-7.
struct ScaleAndMinimum {
  int scale, minimum;
};

ScaleAndMinimum UnpackScale(const uint8_t* packed, int group) {
  if (group < 4) return {packed[group] & 63, packed[group + 4] & 63};
  return {(packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4,
          (packed[group + 4] >> 4) | (packed[group] >> 6) << 4};
}

// The sixteen scales of Q3_K, 6 bits each in 12 bytes: low four bits in bytes 0-7, low half first; high two
// bits in bytes 8-11, byte 8 + i % 4 holding scales i, i + 4, i + 8, i + 12 from its lowest bits on.
int UnpackScaleQ3(const uint8_t* packed, int i) {
  const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
  const int high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
  return (low | high << 4) - 32;
}

}  // namespace

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

// scale f16 | 32 signed bytes
void BlockQ8_0::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  for (int j = 0; j < 32; ++j) out[j] = scale * static_cast<float>(static_cast<int8_t>(block[2 + j]));
}

// scale f16 | 16 bytes of 4 bits, low half first, offset by 8
void BlockQ4_0::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const uint8_t* low = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>((low[j] & 15) - 8);
    out[j + 16] = scale * static_cast<float>((low[j] >> 4) - 8);
  }
}

// scale f16 | minimum f16 | 16 bytes of 4 bits, low half first
void BlockQ4_1::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const float minimum = ReadHalf(block + 2);
  const uint8_t* low = block + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>(low[j] & 15) + minimum;
    out[j + 16] = scale * static_cast<float>(low[j] >> 4) + minimum;
  }
}

// scale f16 | fifth bits u32, that of element j at bit j | 16 bytes of 4 bits, low half first; offset by 16
void BlockQ5_0::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const uint32_t fifth = ReadU32(block + 2);
  const uint8_t* low = block + 6;
  for (int j = 0; j < 16; ++j) {
    const int first = (low[j] & 15) | ((fifth >> j) & 1) << 4;
    const int second = (low[j] >> 4) | ((fifth >> (j + 16)) & 1) << 4;
    out[j] = scale * static_cast<float>(first - 16);
    out[j + 16] = scale * static_cast<float>(second - 16);
  }
}

// scale f16 | minimum f16 | fifth bits u32 | 16 bytes of 4 bits, as Q5_0 without the offset
void BlockQ5_1::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const float minimum = ReadHalf(block + 2);
  const uint32_t fifth = ReadU32(block + 4);
  const uint8_t* low = block + 8;
  for (int j = 0; j < 16; ++j) {
    const int first = (low[j] & 15) | ((fifth >> j) & 1) << 4;
    const int second = (low[j] >> 4) | ((fifth >> (j + 16)) & 1) << 4;
    out[j] = scale * static_cast<float>(first) + minimum;
    out[j + 16] = scale * static_cast<float>(second) + minimum;
  }
}

// 16 bytes: scale (low half) and minimum (high half) of 16 elements each | 64 bytes of 2 bits | scale f16 |
// minimum f16. Byte 32 h + j of the elements holds element 128 h + 32 s + j at bits 2 s.
void BlockQ2_K::Decode(const uint8_t* block, float* out) {
  const uint8_t* groups = block;
  const uint8_t* low = block + 16;
  const float scale = ReadHalf(block + 80);
  const float minimum = ReadHalf(block + 82);
  for (int g = 0; g < 16; ++g) {
    const float group_scale = scale * static_cast<float>(groups[g] & 15);
    const float group_minimum = minimum * static_cast<float>(groups[g] >> 4);
    const uint8_t* bytes = low + 32 * (g / 8) + 16 * (g % 2);
    const int shift = 2 * (g / 2 % 4);
    for (int j = 0; j < 16; ++j) {
      out[16 * g + j] = group_scale * static_cast<float>((bytes[j] >> shift) & 3) - group_minimum;
    }
  }
}

// 32 bytes of third bits | 64 bytes of 2 bits, as Q2_K | 12 bytes of scales of 16 elements each | scale f16.
// Byte j of the third bits holds that of element 32 s + j at bit s; an element without it is lower by 4.
void BlockQ3_K::Decode(const uint8_t* block, float* out) {
  const uint8_t* third = block;
  const uint8_t* low = block + 32;
  const uint8_t* groups = block + 96;
  const float scale = ReadHalf(block + 108);
  for (int g = 0; g < 16; ++g) {
    const float group_scale = scale * static_cast<float>(UnpackScaleQ3(groups, g));
    const uint8_t* bytes = low + 32 * (g / 8) + 16 * (g % 2);
    const uint8_t* high = third + 16 * (g % 2);
    const int shift = 2 * (g / 2 % 4);
    for (int j = 0; j < 16; ++j) {
      const int element = ((bytes[j] >> shift) & 3) + 4 * ((high[j] >> (g / 2)) & 1) - 4;
      out[16 * g + j] = group_scale * static_cast<float>(element);
    }
  }
}

// scale f16 | minimum f16 | 12 bytes of scales and minima of 32 elements each | 128 bytes of 4 bits: byte
// 32 h + j holds element 64 h + j in its low and 64 h + 32 + j in its high half
void BlockQ4_K::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const float minimum = ReadHalf(block + 2);
  const uint8_t* low = block + 16;
  for (int g = 0; g < 8; ++g) {
    const ScaleAndMinimum group = UnpackScale(block + 4, g);
    const float group_scale = scale * static_cast<float>(group.scale);
    const float group_minimum = minimum * static_cast<float>(group.minimum);
    const uint8_t* bytes = low + 32 * (g / 2);
    const int shift = 4 * (g % 2);
    for (int j = 0; j < 32; ++j) {
      out[32 * g + j] = group_scale * static_cast<float>((bytes[j] >> shift) & 15) - group_minimum;
    }
  }
}

// As Q4_K with 32 bytes of fifth bits before the 4 bits: byte j holds that of element 32 g + j at bit g.
void BlockQ5_K::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const float minimum = ReadHalf(block + 2);
  const uint8_t* fifth = block + 16;
  const uint8_t* low = block + 48;
  for (int g = 0; g < 8; ++g) {
    const ScaleAndMinimum group = UnpackScale(block + 4, g);
    const float group_scale = scale * static_cast<float>(group.scale);
    const float group_minimum = minimum * static_cast<float>(group.minimum);
    const uint8_t* bytes = low + 32 * (g / 2);
    const int shift = 4 * (g % 2);
    for (int j = 0; j < 32; ++j) {
      const int element = ((bytes[j] >> shift) & 15) | ((fifth[j] >> g) & 1) << 4;
      out[32 * g + j] = group_scale * static_cast<float>(element) - group_minimum;
    }
  }
}

// 128 bytes of 4 bits | 64 bytes of 2 high bits | 16 signed scales of 16 elements each | scale f16; offset by
// 32. With element 128 h + 32 s + j: low bits in byte 64 h + 32 (s % 2) + j, its low half for s < 2; high
// bits in byte 32 h + j at bits 2 s.
void BlockQ6_K::Decode(const uint8_t* block, float* out) {
  const uint8_t* low = block;
  const uint8_t* high = block + 128;
  const uint8_t* groups = block + 192;
  const float scale = ReadHalf(block + 208);
  for (int g = 0; g < 16; ++g) {
    const float group_scale = scale * static_cast<float>(static_cast<int8_t>(groups[g]));
    const int h = g / 8;
    const int s = g / 2 % 4;
    const uint8_t* bytes = low + 64 * h + 32 * (s % 2) + 16 * (g % 2);
    const uint8_t* top = high + 32 * h + 16 * (g % 2);
    for (int j = 0; j < 16; ++j) {
      const int element = ((bytes[j] >> (4 * (s / 2))) & 15) | ((top[j] >> (2 * s)) & 3) << 4;
      out[16 * g + j] = group_scale * static_cast<float>(element - 32);
    }
  }
}

// scale f16 | 16 bytes of 4 bits, low half first, each the index of a value
void BlockIQ4_NL::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const uint8_t* low = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>(kNonLinear[low[j] & 15]);
    out[j + 16] = scale * static_cast<float>(kNonLinear[low[j] >> 4]);
  }
}

// scale f16 | high two bits of eight scales u16 | their low four bits, low half first by pairs, 4 bytes | per
// 32 elements 16 bytes of 4 bits, as IQ4_NL. Scales are offset by 32.
void BlockIQ4_XS::Decode(const uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const int scales_high = block[2] | block[3] << 8;
  const uint8_t* scales_low = block + 4;
  for (int g = 0; g < 8; ++g) {
    const int multiplier = ((scales_low[g / 2] >> (4 * (g % 2))) & 15) | ((scales_high >> (2 * g)) & 3) << 4;
    const float group_scale = scale * static_cast<float>(multiplier - 32);
    const uint8_t* low = block + 8 + 16 * g;
    for (int j = 0; j < 16; ++j) {
      out[32 * g + j] = group_scale * static_cast<float>(kNonLinear[low[j] & 15]);
      out[32 * g + j + 16] = group_scale * static_cast<float>(kNonLinear[low[j] >> 4]);
    }
  }
}

}  // namespace memgate
