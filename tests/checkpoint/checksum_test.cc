#include "engine/checkpoint/checksum.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "tests/support/safetensors_writer.h"

namespace memgate {
namespace {

std::string Pattern(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 37 + i / 251);
  return text;
}

uint64_t Sum(std::string_view text) { return Checksum64(AsBytes(text)); }

// Written out from the definition in the header, word by word.
uint64_t PlainSum(std::string_view text) {
  constexpr uint64_t kFactor = 0xa54ff53a5f1d36f1;
  const auto step = [](uint64_t lane, uint64_t word) {
    const uint64_t product = (lane ^ word) * kFactor;
    return product << 29 | product >> 35;
  };
  uint64_t lanes[8];
  for (int i = 0; i < 8; ++i) lanes[i] = 0x9e3779b97f4a7c15 * (i + 1);
  const size_t words = (text.size() + 63) / 64 * 8;
  for (size_t w = 0; w < words; ++w) {
    uint64_t word = 0;
    for (size_t b = 0; b < 8 && 8 * w + b < text.size(); ++b) {
      word |= uint64_t{static_cast<unsigned char>(text[8 * w + b])} << 8 * b;
    }
    lanes[w % 8] = step(lanes[w % 8], word);
  }
  uint64_t sum = text.size();
  for (const uint64_t lane : lanes) sum = step(sum, lane);
  return sum;
}

TEST(ChecksumTest, IsTheDefinedFunctionForEveryLength) {
  const std::string text = Pattern(1000);
  for (size_t bytes = 0; bytes <= text.size(); ++bytes) {
    EXPECT_EQ(Sum(text.substr(0, bytes)), PlainSum(text.substr(0, bytes))) << bytes;
  }
}

TEST(ChecksumTest, ItsValuesBelongToFileFormatsAndStay) {
  EXPECT_EQ(Sum(""), 18208603537573710838u);
  EXPECT_EQ(Sum("memgate"), 9153148981189844441u);
  EXPECT_EQ(Sum(Pattern(200)), 701275991818452524u);
}

TEST(ChecksumTest, SeesEveryFlippedBit) {
  std::string text = Pattern(203);
  const uint64_t sum = Sum(text);
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(Sum(text), sum) << bit;
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
  }
}

TEST(ChecksumTest, SeesWordsThatSwappedPlaces) {
  std::string text = Pattern(256);
  const uint64_t sum = Sum(text);
  for (size_t a = 0; a < 32; ++a) {
    for (size_t b = a + 1; b < 32; ++b) {
      std::string swapped = text;
      for (size_t i = 0; i < 8; ++i) std::swap(swapped[8 * a + i], swapped[8 * b + i]);
      EXPECT_NE(Sum(swapped), sum) << a << " and " << b;
    }
  }
}

TEST(ChecksumTest, TellsRunsOfZerosApartByLength) {
  std::set<uint64_t> sums;
  for (size_t bytes = 0; bytes <= 300; ++bytes) sums.insert(Sum(std::string(bytes, '\0')));
  EXPECT_EQ(sums.size(), 301u);
}

}  // namespace
}  // namespace memgate
