// A folder of packed weights that outlives the process, so that a second start need not pack them again.
#ifndef MEMGATE_ENGINE_CHECKPOINT_WEIGHT_CACHE_H_
#define MEMGATE_ENGINE_CHECKPOINT_WEIGHT_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/weight_file.h"

namespace memgate {

// The blobs of one file, mapped: processes that open the same file share its pages. Movable, thread-safe.
class CachedWeights {
 public:
  // Valid as long as this object, also after it was moved; aligned to kBlobAlignment. NOT_FOUND.
  absl::StatusOr<absl::Span<const std::byte>> Find(std::string_view name) const;

 private:
  friend class WeightCache;
  CachedWeights(MappedFile file, std::vector<WeightFileEntry> entries)
      : file_(std::move(file)), entries_(std::move(entries)) {}

  MappedFile file_;
  std::vector<WeightFileEntry> entries_;  // in ascending order of name
};

// One file per key in one folder, which any number of processes may use at once: files appear whole, by
// rename, and are never changed afterwards; writers take turns (a lock on the file "lock"; without it they
// may get into each other's way, which costs a write, never a file that is whole). A file that is deleted or
// replaced stays as it was for those who have it open. Whoever may write into the folder decides what a model
// computes: checksums tell damage, not intent. Thread-safe.
//
// Usage:
//   const WeightCache cache(folder, bytes);
//   auto weights = cache.Open(key);          // any error: pack them, then
//   auto written = cache.Write(key, blobs);  // an error here is worth a line in the log, no more
class WeightCache {
 public:
  // The folder is created, for its owner alone, when the first file is written. Its files may hold at most
  // `max_bytes` together.
  WeightCache(std::string folder, int64_t max_bytes);

  const std::string& folder() const { return folder_; }

  // Reads the whole file once, to check it, and marks it as used now. NOT_FOUND: nothing cached; DATA_LOSS:
  // damaged; FAILED_PRECONDITION: of another version, byte order or key; INVALID_ARGUMENT: bad key or no
  // regular file; CANCELLED soon after a request of `stop`; or what the system reports. Messages start with
  // the path.
  absl::StatusOr<CachedWeights> Open(const WeightCacheKey& key, const std::stop_token& stop = {}) const;

  // Makes Open(key) succeed: nothing to do, and false, if it does already; otherwise, and true, the blobs are
  // written beside the old file, flushed, and put in its place. Files of the longest unused go until the
  // bytes fit. While another process writes, waits up to `longest_wait` (zero: not at all), then UNAVAILABLE.
  // CANCELLED soon after a request of `stop`. RESOURCE_EXHAUSTED if the file alone exceeds the bound, or the
  // disk is full; other codes as the system reports. After an error no part of the new file stays behind;
  // what a killed writer left is removed by the next one. INVALID_ARGUMENT as WeightFileDirectoryBytes, but
  // blobs may come in any order.
  absl::StatusOr<bool> Write(const WeightCacheKey& key, std::vector<WeightBlob> blobs,
                             const std::stop_token& stop = {},
                             absl::Duration longest_wait = absl::InfiniteDuration()) const;

  // Deletes the file of `key`, if there is one: whoever finds its blobs useless has them written again.
  absl::Status Discard(const WeightCacheKey& key) const;

  // The file of `key`: <folder>/<model>,<format>,<layout>.weights.
  std::string Path(const WeightCacheKey& key) const;

 private:
  const std::string folder_;
  const int64_t max_bytes_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_WEIGHT_CACHE_H_
