// One owner of the memory budget. Everything large reserves its bytes here before it is allocated.
#ifndef MEMGATE_ENGINE_SESSION_BYTE_ACCOUNTANT_H_
#define MEMGATE_ENGINE_SESSION_BYTE_ACCOUNTANT_H_

#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"

namespace memgate {

class ByteAccountant;

// Bytes that belong to somebody; given back on destruction. Must not outlive its accountant.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept { *this = std::move(other); }
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation() { Release(); }

  int64_t bytes() const { return bytes_; }
  void Release();
  // Gives back all but `bytes`; nothing if it has no more.
  void ShrinkTo(int64_t bytes);
  // Has exactly `bytes` afterwards, or is as it was: errors as of ByteAccountant::Reserve, from which it must
  // come.
  absl::Status ResizeTo(int64_t bytes, std::string_view what);

 private:
  friend class ByteAccountant;
  Reservation(ByteAccountant* accountant, int64_t bytes) : accountant_(accountant), bytes_(bytes) {}

  ByteAccountant* accountant_ = nullptr;
  int64_t bytes_ = 0;
};

// Thread-safe.
class ByteAccountant {
 public:
  explicit ByteAccountant(int64_t budget_bytes) : budget_bytes_(budget_bytes) {}
  ByteAccountant(const ByteAccountant&) = delete;
  ByteAccountant& operator=(const ByteAccountant&) = delete;

  // RESOURCE_EXHAUSTED, naming `what`, its bytes, and what is left, if the budget does not allow it.
  absl::StatusOr<Reservation> Reserve(int64_t bytes, std::string_view what);

  int64_t budget_bytes() const { return budget_bytes_; }
  int64_t reserved_bytes() const;

 private:
  friend class Reservation;
  void Return(int64_t bytes);

  const int64_t budget_bytes_;
  mutable Mutex mutex_;
  int64_t reserved_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SESSION_BYTE_ACCOUNTANT_H_
