// A file mapped into memory, read-only.
#ifndef MEMGATE_ENGINE_CHECKPOINT_MAPPED_FILE_H_
#define MEMGATE_ENGINE_CHECKPOINT_MAPPED_FILE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace memgate {

// Movable, thread-safe after construction. The file must not be shortened while it is mapped: reading past
// the new end would raise SIGBUS. Replacing a file by rename is safe, the mapping keeps the old one.
class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or another code for what the system reports; INVALID_ARGUMENT if `path` is
  // not a regular file. Messages start with the path.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  // Valid as long as this object, also after it was moved to another one.
  absl::Span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}

  const std::byte* data_ = nullptr;  // null for an empty file
  size_t size_ = 0;                  // bytes
};

// `status` with "path: " before its message, for what is wrong inside a file.
absl::Status WithPath(const std::string& path, const absl::Status& status);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_MAPPED_FILE_H_
