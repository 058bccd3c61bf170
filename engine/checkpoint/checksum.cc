#include "engine/checkpoint/checksum.h"

#include <array>
#include <bit>
#include <cstring>

namespace memgate {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie in memory");

constexpr size_t kLanes = 8;
constexpr size_t kBlockBytes = kLanes * sizeof(uint64_t);
// 2^64 divided by the golden ratio, an odd number: lanes begin at its multiples, so that none begins as
// another and words cannot swap lanes unseen.
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;
// An odd number without a pattern in its bits: the fraction of the square root of 7.
constexpr uint64_t kFactor = 0xa54ff53a5f1d36f1;

uint64_t Step(uint64_t lane, uint64_t word) { return std::rotl((lane ^ word) * kFactor, 29); }

using Lanes = std::array<uint64_t, kLanes>;

void TakeBlock(const std::byte* block, Lanes& lanes) {
  Lanes words;
  std::memcpy(words.data(), block, kBlockBytes);
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = Step(lanes[i], words[i]);
}

}  // namespace

uint64_t Checksum64(absl::Span<const std::byte> bytes) {
  Lanes lanes;
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = kGolden * (i + 1);
  size_t taken = 0;
  for (; bytes.size() - taken >= kBlockBytes; taken += kBlockBytes) TakeBlock(bytes.data() + taken, lanes);
  if (taken < bytes.size()) {
    std::array<std::byte, kBlockBytes> last = {};
    std::memcpy(last.data(), bytes.data() + taken, bytes.size() - taken);
    TakeBlock(last.data(), lanes);
  }
  uint64_t sum = bytes.size();
  for (const uint64_t lane : lanes) sum = Step(sum, lane);
  return sum;
}

}  // namespace memgate
