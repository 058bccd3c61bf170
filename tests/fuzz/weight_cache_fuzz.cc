// Any bytes as a file of a weight cache, with and without a right checksum of the directory: refused, or
// every blob lies aligned within the file and can be read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/checkpoint/checksum.h"
#include "engine/checkpoint/weight_file.h"
#include "tests/fuzz/input_parts.h"

namespace memgate {
namespace {

void Parse(absl::Span<const std::byte> file) {
  const auto entries = ParseWeightFile(file, {"sha256:0123", "int8", "panel16-v1"});
  if (!entries.ok()) return;
  for (size_t i = 0; i < entries->size(); ++i) {
    const WeightFileEntry& entry = (*entries)[i];
    Require(entry.begin % kBlobAlignment == 0 && entry.begin <= file.size());
    Require(entry.bytes <= file.size() - entry.begin);
    Require(i == 0 || (*entries)[i - 1].name < entry.name);
  }
  (void)VerifyWeightBlobs(file, *entries);
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> file(size);
  std::transform(data, data + size, file.begin(), [](uint8_t b) { return std::byte{b}; });
  memgate::Parse(file);
  // The checksum keeps mutations out of the parser; the second try makes sizes and checksum right.
  constexpr size_t kFileBytesAt = 16, kDirectoryBytesAt = 24, kHeaderBytes = 40, kChecksumBytes = 8;
  if (size < kHeaderBytes) return 0;
  const uint64_t file_bytes = size;
  std::memcpy(file.data() + kFileBytesAt, &file_bytes, sizeof(file_bytes));
  uint64_t directory_bytes;
  std::memcpy(&directory_bytes, file.data() + kDirectoryBytesAt, sizeof(directory_bytes));
  if (directory_bytes < kHeaderBytes + kChecksumBytes || directory_bytes > size) return 0;
  const size_t covered = directory_bytes - kChecksumBytes;
  const uint64_t checksum = memgate::Checksum64(absl::MakeConstSpan(file).first(covered));
  std::memcpy(file.data() + covered, &checksum, sizeof(checksum));
  memgate::Parse(file);
  return 0;
}
