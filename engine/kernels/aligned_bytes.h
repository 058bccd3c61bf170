// A block of bytes at a multiple of a cache line, for packed weights and work memory.
#ifndef MEMGATE_ENGINE_KERNELS_ALIGNED_BYTES_H_
#define MEMGATE_ENGINE_KERNELS_ALIGNED_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "absl/types/span.h"

namespace memgate {

// Bytes of a cache line, and of the widest vector.
inline constexpr int64_t kCacheLineBytes = 64;

// Owns its bytes, which are not initialised. Moves do not change where they lie. A block of several MiB asks
// for huge pages: reading weights row after row otherwise waits for the translation of addresses.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(int64_t size);
  AlignedBytes(AlignedBytes&& other) noexcept
      : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  AlignedBytes& operator=(AlignedBytes&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  absl::Span<std::byte> span() { return {data_.get(), static_cast<size_t>(size_)}; }
  absl::Span<const std::byte> span() const { return {data_.get(), static_cast<size_t>(size_)}; }

 private:
  struct Delete {
    std::align_val_t alignment;
    void operator()(std::byte* data) const { ::operator delete(data, alignment); }
  };
  std::unique_ptr<std::byte, Delete> data_;
  int64_t size_ = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_ALIGNED_BYTES_H_
