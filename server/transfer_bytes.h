// Bytes of snapshots on their way in or out, held against what the engine's budget has left.
#ifndef MEMGATE_SERVER_TRANSFER_BYTES_H_
#define MEMGATE_SERVER_TRANSFER_BYTES_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/error.h"

namespace memgate {

// Thread-safe. `free_bytes` tells how much of the engine's budget nobody has reserved.
class TransferBytes {
 public:
  explicit TransferBytes(std::function<int64_t()> free_bytes) : free_bytes_(std::move(free_bytes)) {}

  // The buffer of one transfer. Not thread-safe; its bytes return on destruction.
  class Buffer {
   public:
    explicit Buffer(TransferBytes& owner) : owner_(owner) {}
    ~Buffer() { owner_.Return(taken_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Adds to the buffer. RESOURCE_EXHAUSTED (MEMORY_BUDGET) before anything is allocated.
    absl::Status Append(absl::string_view bytes) {
      const auto needed = static_cast<int64_t>(data_.size() + bytes.size());
      if (needed > taken_) {
        // Doubling keeps copying linear; the old buffer counts until the new one has taken over.
        const int64_t grown = std::max(needed, 2 * taken_);
        if (auto status = owner_.Take(grown); !status.ok()) return status;
        data_.reserve(static_cast<size_t>(grown));
        owner_.Return(std::exchange(taken_, grown));
      }
      data_.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    // Fills the buffer with what `make` returns, which is at most `bytes` long. REQUIRES: the buffer is
    // empty.
    absl::Status Fill(int64_t bytes, const std::function<absl::StatusOr<std::string>()>& make) {
      if (auto status = owner_.Take(bytes); !status.ok()) return status;
      taken_ = bytes;
      absl::StatusOr<std::string> made = make();
      if (made.ok()) data_ = *std::move(made);
      return made.status();
    }
    const std::string& data() const { return data_; }

   private:
    TransferBytes& owner_;
    int64_t taken_ = 0;
    std::string data_;
  };

 private:
  absl::Status Take(int64_t bytes) {
    absl::MutexLock lock(&mutex_);
    const int64_t left = free_bytes_() - taken_;
    if (bytes > left) {
      return ErrorWithReason(absl::StatusCode::kResourceExhausted, "MEMORY_BUDGET",
                             absl::StrCat("the snapshot needs ", bytes, " more bytes; ", left,
                                          " of the memory budget are left"));
    }
    taken_ += bytes;
    return absl::OkStatus();
  }
  void Return(int64_t bytes) {
    absl::MutexLock lock(&mutex_);
    taken_ -= bytes;
  }

  const std::function<int64_t()> free_bytes_;
  absl::Mutex mutex_;
  int64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_TRANSFER_BYTES_H_
