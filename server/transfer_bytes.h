// Bytes of snapshots on their way in or out, reserved from the engine's memory budget.
#ifndef MEMGATE_SERVER_TRANSFER_BYTES_H_
#define MEMGATE_SERVER_TRANSFER_BYTES_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/engine.h"

namespace memgate {

// Thread-safe if `reserve` is.
class TransferBytes {
 public:
  // Takes bytes out of the budget: RESOURCE_EXHAUSTED (MEMORY_BUDGET) if they are not there.
  using Reserve = std::function<absl::StatusOr<Reservation>(int64_t bytes)>;
  explicit TransferBytes(Reserve reserve) : reserve_(std::move(reserve)) {}

  // The buffer of one transfer. Not thread-safe; its bytes return on destruction.
  class Buffer {
   public:
    explicit Buffer(TransferBytes& owner) : owner_(owner) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Adds to the buffer. RESOURCE_EXHAUSTED (MEMORY_BUDGET) before anything is allocated.
    absl::Status Append(absl::string_view bytes) {
      const auto needed = static_cast<int64_t>(data_.size() + bytes.size());
      if (needed > reserved_.bytes()) {
        // Doubling keeps copying linear; the old buffer counts until the new one has taken over.
        const int64_t grown = std::max(needed, 2 * reserved_.bytes());
        auto reservation = owner_.reserve_(grown);
        if (!reservation.ok()) return reservation.status();
        data_.reserve(static_cast<size_t>(grown));
        reserved_ = *std::move(reservation);
      }
      data_.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    // Fills the buffer with what `make` returns, which is at most `bytes` long. REQUIRES: the buffer is
    // empty.
    absl::Status Fill(int64_t bytes, const std::function<absl::StatusOr<std::string>()>& make) {
      auto reservation = owner_.reserve_(bytes);
      if (!reservation.ok()) return reservation.status();
      reserved_ = *std::move(reservation);
      absl::StatusOr<std::string> made = make();
      if (made.ok()) data_ = *std::move(made);
      return made.status();
    }
    const std::string& data() const { return data_; }
    // Empties the buffer and gives its bytes back.
    void Clear() {
      std::string().swap(data_);
      reserved_.Release();
    }

   private:
    TransferBytes& owner_;
    Reservation reserved_;  // destroyed after the data
    std::string data_;
  };

 private:
  const Reserve reserve_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_TRANSFER_BYTES_H_
