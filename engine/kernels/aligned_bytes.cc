#include "engine/kernels/aligned_bytes.h"

#include <sys/mman.h>

namespace memgate {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;

}  // namespace

AlignedBytes::AlignedBytes(int64_t size) : size_(size) {
  const bool huge = size >= kHugePageBytes;
  const auto alignment = static_cast<std::align_val_t>(huge ? kHugePageBytes : kCacheLineBytes);
  data_ = {static_cast<std::byte*>(::operator new(size, alignment)), Delete{alignment}};
  // A hint: where the system has no huge pages for us, small ones do.
  if (huge) madvise(data_.get(), size, MADV_HUGEPAGE);
}

}  // namespace memgate
