// A file mapped into memory, read-only.
#ifndef MEMGATE_ENGINE_CHECKPOINT_MAPPED_FILE_H_
#define MEMGATE_ENGINE_CHECKPOINT_MAPPED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace memgate {

// What changes when a file does. Whoever sets clocks back or writes past the file system can forge it.
struct FileIdentity {
  std::string path;  // canonical
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t bytes = 0;
  int64_t modified_ns = 0;  // since 1970: of the contents
  int64_t changed_ns = 0;   // since 1970: of contents, name or rights; no call sets it

  bool operator==(const FileIdentity&) const = default;
};

// The identity of the file that `path` leads to now; empty if there is none.
FileIdentity IdentifyFile(const std::string& path);

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
  // Asks for large pages, for a file that is read from end to end again and again: the processor looks up an
  // address for every page. Where kernel and file system have none, nothing changes.
  void PreferHugePages() const;
  // Takes the pages that were read out of this process's resident memory; what is read later comes from the
  // page cache, or from the disk. For a file that has been read and will hardly be needed again.
  void ReleasePages() const;
  // As it was when it was opened.
  const FileIdentity& identity() const { return identity_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  MappedFile(FileIdentity identity, const std::byte* data)
      : identity_(std::move(identity)), data_(data), size_(static_cast<size_t>(identity_.bytes)) {}

  FileIdentity identity_;
  const std::byte* data_ = nullptr;  // null for an empty file
  size_t size_ = 0;                  // bytes
};

// `status` with "path: " before its message, for what is wrong inside a file.
absl::Status WithPath(const std::string& path, const absl::Status& status);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_MAPPED_FILE_H_
