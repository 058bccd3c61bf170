// Fingerprints that were computed before, so that a start need not read a whole model to know which it is.
#ifndef MEMGATE_ENGINE_CHECKPOINT_FINGERPRINT_MEMO_H_
#define MEMGATE_ENGINE_CHECKPOINT_FINGERPRINT_MEMO_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/checkpoint/tensor.h"
#include "engine/checkpoint/weight_cache.h"

namespace memgate {

struct KnownFingerprint {
  bool remembered() const { return recalled.ok(); }

  std::string value;
  absl::Status recalled;  // why it was not remembered; OK if it was
  absl::Status stored;    // why the next start will not remember it either; OK if it will
};

// Fingerprint(tensors), out of `cache` if it was computed for the very same files: same canonical path,
// device, inode, size, time of modification and time of change, to the nanosecond, of every file of
// `tensors`. Otherwise computes it and stores it, unless a file changed within the last two seconds before
// `now` (file systems stamp so coarsely that another change could carry the same time) or while it was read.
// Errors as Fingerprint; those of the cache are no errors here. Never waits for another process that writes.
absl::StatusOr<KnownFingerprint> RecallFingerprint(const TensorSource& tensors, const WeightCache& cache,
                                                   absl::Time now);

// Whether the files of `tensors` still are what was opened. FAILED_PRECONDITION: one is not, and what was
// read of it may have another fingerprint.
absl::Status CheckUnchanged(const TensorSource& tensors);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_FINGERPRINT_MEMO_H_
