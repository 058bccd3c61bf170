// The file of a weight cache: named blobs of packed weights (docs/formats.md, "Weight cache").
#ifndef MEMGATE_ENGINE_CHECKPOINT_WEIGHT_FILE_H_
#define MEMGATE_ENGINE_CHECKPOINT_WEIGHT_FILE_H_

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace memgate {

// Every blob begins at a multiple of this, so that vectors of any width can be read in place.
inline constexpr size_t kBlobAlignment = 64;  // bytes

// What packed weights follow from. Each part: 1 to 80 characters out of [A-Za-z0-9._:-].
struct WeightCacheKey {
  std::string model;   // fingerprint of the tensors they were packed from
  std::string format;  // e.g. "int8"
  std::string layout;  // of the packed bytes: its version, and CPU features where it depends on them

  bool operator==(const WeightCacheKey&) const = default;
};

// INVALID_ARGUMENT names the part that breaks the rules above.
absl::Status CheckWeightCacheKey(const WeightCacheKey& key);

// A blob to write, or one inside a file. Borrows its bytes.
struct WeightBlob {
  std::string name;  // 1 to 255 bytes
  absl::Span<const std::byte> bytes;
};

// A blob's place in a file.
struct WeightFileEntry {
  std::string name;
  size_t begin = 0;       // multiple of kBlobAlignment
  size_t bytes = 0;       // begin + bytes, rounded up to kBlobAlignment, lies within the file
  uint64_t checksum = 0;  // as the file claims
};

// Bytes from the begin of a blob of `bytes` to the begin of the next one; zeros fill the gap.
size_t PaddedBlobBytes(size_t bytes);

// Size of the directory of these blobs in this order; reads none of them. INVALID_ARGUMENT: names not
// ascending, too long or empty, a directory above 16 MiB, a bad key.
absl::StatusOr<size_t> WeightFileDirectoryBytes(const WeightCacheKey& key,
                                                absl::Span<const WeightBlob> blobs);

// The bytes before the first blob, a multiple of kBlobAlignment. Reads every blob once; CANCELLED at the next
// blob after a request of `stop`. Other errors as WeightFileDirectoryBytes.
absl::StatusOr<std::string> EncodeWeightFileDirectory(const WeightCacheKey& key,
                                                      absl::Span<const WeightBlob> blobs,
                                                      const std::stop_token& stop = {});

// Checks the directory of a file image against its checksum, the image's size and `key`. Entries come in
// ascending byte order of name and tile the file. DATA_LOSS: not such a file, damaged or cut short;
// FAILED_PRECONDITION: sound, but of another version, byte order or key. Messages say precisely what.
// Reads no blob.
absl::StatusOr<std::vector<WeightFileEntry>> ParseWeightFile(absl::Span<const std::byte> file,
                                                             const WeightCacheKey& key);

// Compares every blob, padding included, with its checksum. DATA_LOSS names the blob; CANCELLED at the next
// blob after a request of `stop`. REQUIRES: entries come from ParseWeightFile(file, ...).
absl::Status VerifyWeightBlobs(absl::Span<const std::byte> file, absl::Span<const WeightFileEntry> entries,
                               const std::stop_token& stop = {});

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_WEIGHT_FILE_H_
