// Every block type against its definition: the value of one element, looked up bit by bit and computed in
// double, where it is exact, then rounded once.
#include "engine/checkpoint/ggml_blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/checkpoint/dtype.h"
#include "tests/checkpoint/half_by_definition.h"

namespace memgate {
namespace {

using Block = std::vector<uint8_t>;

double Half(const Block& block, int byte) { return HalfByDefinition(block[byte] | block[byte + 1] << 8); }

// `count` bits from bit `first` of the block on; bit 0 is the lowest of byte 0.
int Bits(const Block& block, int first, int count) {
  int value = 0;
  for (int i = 0; i < count; ++i) value |= ((block[(first + i) / 8] >> ((first + i) % 8)) & 1) << i;
  return value;
}

int Signed(int value, int bits) { return value >= 1 << (bits - 1) ? value - (1 << bits) : value; }

// The 4 bits of element i, in bytes from `byte` on: groups of 2 `half` elements share `half` bytes.
int Nibble(const Block& block, int byte, int half, int i) {
  const int within = i % (2 * half);
  return Bits(block, 8 * (byte + i / (2 * half) * half + within % half) + 4 * (within / half), 4);
}

// The 2 bits of element i, in bytes from `byte` on: groups of 128 elements share 32 bytes.
int Pair(const Block& block, int byte, int i) {
  return Bits(block, 8 * (byte + i / 128 * 32 + i % 32) + 2 * (i % 128 / 32), 2);
}

// Scales (which = 0) and minima (which = 1) of Q4_K and Q5_K: 12 bytes from `byte` on.
int SixBits(const Block& block, int byte, int which, int group) {
  const int base = 8 * (byte + 4 * which);
  if (group < 4) return Bits(block, base + 8 * group, 6);
  return Bits(block, 8 * (byte + 8 + group - 4) + 4 * which, 4) | Bits(block, base + 8 * (group - 4) + 6, 2)
                                                                      << 4;
}

constexpr int kTable[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

double Q8_0(const Block& b, int i) { return Half(b, 0) * Signed(Bits(b, 16 + 8 * i, 8), 8); }
double Q4_0(const Block& b, int i) { return Half(b, 0) * (Nibble(b, 2, 16, i) - 8); }
double Q4_1(const Block& b, int i) { return Half(b, 0) * Nibble(b, 4, 16, i) + Half(b, 2); }
double Q5_0(const Block& b, int i) {
  return Half(b, 0) * (Nibble(b, 6, 16, i) + 16 * Bits(b, 16 + i, 1) - 16);
}
double Q5_1(const Block& b, int i) {
  return Half(b, 0) * (Nibble(b, 8, 16, i) + 16 * Bits(b, 32 + i, 1)) + Half(b, 2);
}
double Q2_K(const Block& b, int i) {
  const double scale = Half(b, 80) * Bits(b, 8 * (i / 16), 4);
  const double minimum = Half(b, 82) * Bits(b, 8 * (i / 16) + 4, 4);
  return scale * Pair(b, 16, i) - minimum;
}
double Q3_K(const Block& b, int i) {
  const int group = i / 16;
  const int scale = Bits(b, 8 * (96 + group % 8) + 4 * (group / 8), 4) |
                    Bits(b, 8 * (104 + group % 4) + 2 * (group / 4), 2) << 4;
  const int third = Bits(b, 8 * (i % 32) + i / 32, 1);
  return Half(b, 108) * (scale - 32) * (Pair(b, 32, i) - (third != 0 ? 0 : 4));
}
double Q4_K(const Block& b, int i) {
  return Half(b, 0) * SixBits(b, 4, 0, i / 32) * Nibble(b, 16, 32, i) - Half(b, 2) * SixBits(b, 4, 1, i / 32);
}
double Q5_K(const Block& b, int i) {
  const int element = Nibble(b, 48, 32, i) + 16 * Bits(b, 8 * (16 + i % 32) + i / 32, 1);
  return Half(b, 0) * SixBits(b, 4, 0, i / 32) * element - Half(b, 2) * SixBits(b, 4, 1, i / 32);
}
double Q6_K(const Block& b, int i) {
  const int element = Nibble(b, 0, 64, i) + 16 * Pair(b, 128, i);
  return Half(b, 208) * Signed(Bits(b, 8 * (192 + i / 16), 8), 8) * (element - 32);
}
double IQ4_NL(const Block& b, int i) { return Half(b, 0) * kTable[Nibble(b, 2, 16, i)]; }
double IQ4_XS(const Block& b, int i) {
  const int group = i / 32;
  const int scale = Bits(b, 32 + 4 * group, 4) | Bits(b, 16 + 2 * group, 2) << 4;
  return Half(b, 0) * (scale - 32) * kTable[Nibble(b, 8, 16, i)];
}

struct Type {
  DType dtype;
  const char* name;
  int elements, bytes;
  std::vector<int> halves;  // bytes where an f16 lies
  double (*element)(const Block& block, int i);
};

const Type kTypes[] = {
    {DType::kQ8_0, "Q8_0", 32, 34, {0}, Q8_0},       {DType::kQ4_0, "Q4_0", 32, 18, {0}, Q4_0},
    {DType::kQ4_1, "Q4_1", 32, 20, {0, 2}, Q4_1},    {DType::kQ5_0, "Q5_0", 32, 22, {0}, Q5_0},
    {DType::kQ5_1, "Q5_1", 32, 24, {0, 2}, Q5_1},    {DType::kQ2_K, "Q2_K", 256, 84, {80, 82}, Q2_K},
    {DType::kQ3_K, "Q3_K", 256, 110, {108}, Q3_K},   {DType::kQ4_K, "Q4_K", 256, 144, {0, 2}, Q4_K},
    {DType::kQ5_K, "Q5_K", 256, 176, {0, 2}, Q5_K},  {DType::kQ6_K, "Q6_K", 256, 210, {208}, Q6_K},
    {DType::kIQ4_NL, "IQ4_NL", 32, 18, {0}, IQ4_NL}, {DType::kIQ4_XS, "IQ4_XS", 256, 136, {0}, IQ4_XS},
};

class GgmlBlocksTest : public testing::TestWithParam<Type> {
 protected:
  Block RandomBlock() {
    Block block(GetParam().bytes);
    for (uint8_t& byte : block) byte = static_cast<uint8_t>(random_());
    return block;
  }

  // Decodes `block` as it lies at an odd address and compares every bit.
  void ExpectDefined(const Block& block) {
    const Type& type = GetParam();
    std::string odd(1, '\0');
    odd.append(block.begin(), block.end());
    std::vector<float> out(type.elements);
    DecodeElements(type.dtype, reinterpret_cast<const std::byte*>(odd.data() + 1), absl::MakeSpan(out));
    for (int i = 0; i < type.elements; ++i) {
      const float expected = static_cast<float>(type.element(block, i));
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(out[i])) << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(expected)) << i << ": " << out[i];
      }
    }
  }

  std::mt19937 random_{7};
};

TEST_P(GgmlBlocksTest, RandomBlocksHaveTheDefinedValues) {
  for (int i = 0; i < 500; ++i) ASSERT_NO_FATAL_FAILURE(ExpectDefined(RandomBlock()));
}

TEST_P(GgmlBlocksTest, ExtremeScalesHaveTheDefinedValues) {
  // Zeros, the smallest subnormal, the largest subnormal, the smallest normal, the largest, infinities, NaN.
  const int kExtremes[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400,
                           0x3c00, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00};
  for (const int first : kExtremes) {
    for (const int second : kExtremes) {
      Block block = RandomBlock();
      for (size_t h = 0; h < GetParam().halves.size(); ++h) {
        const int half = h == 0 ? first : second;
        block[GetParam().halves[h]] = static_cast<uint8_t>(half);
        block[GetParam().halves[h] + 1] = static_cast<uint8_t>(half >> 8);
      }
      ASSERT_NO_FATAL_FAILURE(ExpectDefined(block)) << std::hex << first << ' ' << second;
    }
  }
}

TEST_P(GgmlBlocksTest, EveryByteValueEverywhereHasTheDefinedValues) {
  for (int value = 0; value < 256; ++value) {
    Block block(GetParam().bytes, static_cast<uint8_t>(value));
    for (const int at : GetParam().halves) {
      block[at] = 0x01;  // 1 + 2^-10: all mantissa bits of a product count
      block[at + 1] = 0x3c;
    }
    ASSERT_NO_FATAL_FAILURE(ExpectDefined(block)) << value;
  }
}

TEST_P(GgmlBlocksTest, ManyBlocksFollowEachOther) {
  const Type& type = GetParam();
  ASSERT_EQ(DTypeName(type.dtype), type.name);
  ASSERT_EQ(BlockElements(type.dtype), type.elements);
  ASSERT_EQ(DTypeBytes(type.dtype, 5 * type.elements), 5 * type.bytes);
  std::vector<Block> blocks;
  Block all;
  for (int i = 0; i < 5; ++i) {
    blocks.push_back(RandomBlock());
    all.insert(all.end(), blocks.back().begin(), blocks.back().end());
  }
  std::vector<float> together(5 * type.elements);
  DecodeElements(type.dtype, reinterpret_cast<const std::byte*>(all.data()), absl::MakeSpan(together));
  for (int i = 0; i < 5; ++i) {
    std::vector<float> alone(type.elements);
    DecodeElements(type.dtype, reinterpret_cast<const std::byte*>(blocks[i].data()), absl::MakeSpan(alone));
    ASSERT_EQ(std::memcmp(alone.data(), &together[i * type.elements], type.elements * sizeof(float)), 0) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GgmlBlocksTest, testing::ValuesIn(kTypes),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace memgate
