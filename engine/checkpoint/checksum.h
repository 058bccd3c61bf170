// A fast 64-bit checksum against accidents: torn writes, bad disks, files cut short. It is no defence against
// an attacker.
#ifndef MEMGATE_ENGINE_CHECKPOINT_CHECKSUM_H_
#define MEMGATE_ENGINE_CHECKPOINT_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace memgate {

// Eight 64-bit lanes take the 8-byte words of `bytes` in turn (little-endian; the end is padded with zeros to
// 64 bytes): lane <- rotl((lane xor word) * K, 29), K odd. The lanes are folded into the length by the same
// step. Each step is a bijection in lane and in word, so damage within one word is always seen; any other
// goes unseen once in 2^64. Runs at the speed of memory on any 64-bit machine. The value is part of file
// formats and must not change.
uint64_t Checksum64(absl::Span<const std::byte> bytes);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_CHECKSUM_H_
