#include "engine/checkpoint/weight_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "engine/base/strings.h"

namespace memgate {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".weights";
constexpr char kLockFile[] = "lock";
constexpr std::string_view kTemporaryPrefix = "writing-";
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr size_t kWriteBytes = 4 << 20;   // between two looks at the stop token
constexpr size_t kFlushBytes = 64 << 20;  // that may wait for the disk: it does not look at the stop token
constexpr auto kLockPause = std::chrono::milliseconds(50);

absl::Status SystemError(const std::string& path) { return absl::ErrnoToStatus(errno, path); }

absl::Status Stopped(const std::string& path) { return absl::CancelledError(Concat(path, ": stopped")); }

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

// Waits until no other writer, here or in another process, holds the folder. The lock goes with the result;
// the kernel takes it back from a process that dies. Only the owner can open it: who can may hold it forever.
absl::StatusOr<FileDescriptor> LockFolder(const std::string& folder, const std::stop_token& stop,
                                          absl::Duration longest_wait) {
  const absl::Time deadline = absl::Now() + longest_wait;
  const std::string path = Concat(folder, "/", kLockFile);
  FileDescriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!lock.ok()) return SystemError(path);
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return SystemError(path);
    if (stop.stop_requested()) return Stopped(path);
    if (absl::Now() >= deadline) return absl::UnavailableError(Concat(path, ": another process writes"));
    std::this_thread::sleep_for(kLockPause);
  }
  return lock;
}

struct StoredFile {
  std::string path;
  int64_t bytes;
  std::pair<int64_t, int64_t> used;  // s, ns
};

absl::StatusOr<std::vector<StoredFile>> ListFiles(const std::string& folder) {
  std::vector<StoredFile> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    struct stat info;
    if (!path.ends_with(kSuffix) || ::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    files.push_back({path, info.st_size, {info.st_mtim.tv_sec, info.st_mtim.tv_nsec}});
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  return files;
}

absl::Status Remove(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return SystemError(path);
}

// What killed writers left. REQUIRES: the lock, so that no writer is alive.
absl::Status RemoveLeftovers(const std::string& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kTemporaryPrefix) || !name.ends_with(kTemporarySuffix)) continue;
    if (auto s = Remove(it->path().string()); !s.ok()) return s;
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  return absl::OkStatus();
}

// Deletes files, the longest unused first, until the rest holds at most `bytes`.
absl::Status Shrink(const std::string& folder, int64_t bytes) {
  auto files = ListFiles(folder);
  if (!files.ok()) return files.status();
  std::sort(files->begin(), files->end(),
            [](const StoredFile& a, const StoredFile& b) { return a.used < b.used; });
  int64_t total = 0;
  for (const StoredFile& file : *files) total += file.bytes;
  for (const StoredFile& file : *files) {
    if (total <= bytes) break;
    if (auto s = Remove(file.path); !s.ok()) return s;
    total -= file.bytes;
  }
  return absl::OkStatus();
}

// A new file that vanishes unless it is put in place.
class TemporaryFile {
 public:
  // Its name is its own: another writer, who did not see our lock, can take it away but not put it in place.
  static absl::StatusOr<TemporaryFile> Create(const std::string& folder) {
    std::string path =
        Concat(folder, "/", kTemporaryPrefix, ::getpid(), "-", absl::GetCurrentTimeNanos(), kTemporarySuffix);
    FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file.ok()) return SystemError(path);
    return TemporaryFile(std::move(path), std::move(file));
  }
  TemporaryFile(TemporaryFile&& other) noexcept
      : path_(std::exchange(other.path_, {})), file_(std::move(other.file_)) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  // A full disk says so now, not after half of the bytes. Where a file system cannot tell, writing will.
  absl::Status Allocate(int64_t bytes) {
    if (::fallocate(file_.get(), 0, 0, bytes) == 0) return absl::OkStatus();
    const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return full ? SystemError(path_) : absl::OkStatus();
  }

  absl::Status Append(absl::Span<const std::byte> bytes, const std::stop_token& stop) {
    while (!bytes.empty()) {
      if (stop.stop_requested()) return Stopped(path_);
      const ssize_t written = ::write(file_.get(), bytes.data(), std::min(bytes.size(), kWriteBytes));
      if (written < 0 && errno != EINTR) return SystemError(path_);
      if (written <= 0) continue;
      bytes.remove_prefix(written);
      unflushed_ += written;
      if (unflushed_ < kFlushBytes) continue;
      if (::fdatasync(file_.get()) != 0) return SystemError(path_);
      unflushed_ = 0;
    }
    return absl::OkStatus();
  }

  // After a crash of the machine there is the old file or the whole new one.
  absl::Status MoveTo(const std::string& path, const std::stop_token& stop) {
    if (stop.stop_requested()) return Stopped(path_);
    if (::fsync(file_.get()) != 0) return SystemError(path_);
    // What write() left in memory lies in small pages; whoever maps the file reads it into large ones.
    ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
    if (::rename(path_.c_str(), path.c_str()) != 0) return SystemError(path);
    path_.clear();
    const std::string folder = fs::path(path).parent_path().string();
    const FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory.ok() || ::fsync(directory.get()) != 0) return SystemError(folder);
    return absl::OkStatus();
  }

 private:
  TemporaryFile(std::string path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;  // empty once it is in place
  FileDescriptor file_;
  size_t unflushed_ = 0;  // bytes written since the last flush
};

absl::Status AppendBlobs(absl::Span<const WeightBlob> blobs, const std::stop_token& stop,
                         TemporaryFile& file) {
  constexpr std::byte kZeros[kBlobAlignment] = {};
  for (const WeightBlob& blob : blobs) {
    const size_t padding = PaddedBlobBytes(blob.bytes.size()) - blob.bytes.size();
    if (auto s = file.Append(blob.bytes, stop); !s.ok()) return s;
    if (auto s = file.Append({kZeros, padding}, stop); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status CreateFolder(const std::string& folder) {
  const fs::path path(folder);
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (error) return absl::ErrnoToStatus(error.value(), path.parent_path().string());
  if (::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return SystemError(folder);
}

std::string WithoutTrailingSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

absl::StatusOr<absl::Span<const std::byte>> CachedWeights::Find(std::string_view name) const {
  const auto entry = std::lower_bound(
      entries_.begin(), entries_.end(), name,
      [](const WeightFileEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  if (entry == entries_.end() || entry->name != name) {
    return absl::NotFoundError(Concat("no blob \"", name, "\" in the weight cache"));
  }
  return file_.bytes().subspan(entry->begin, entry->bytes);
}

WeightCache::WeightCache(std::string folder, int64_t max_bytes)
    : folder_(WithoutTrailingSlashes(std::move(folder))), max_bytes_(max_bytes) {}

std::string WeightCache::Path(const WeightCacheKey& key) const {
  return Concat(folder_, "/", key.model, ",", key.format, ",", key.layout, kSuffix);
}

absl::StatusOr<CachedWeights> WeightCache::Open(const WeightCacheKey& key,
                                                const std::stop_token& stop) const {
  if (auto s = CheckWeightCacheKey(key); !s.ok()) return s;
  const std::string path = Path(key);
  auto file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  file->PreferHugePages();
  auto entries = ParseWeightFile(file->bytes(), key);
  if (!entries.ok()) return WithPath(path, entries.status());
  if (auto s = VerifyWeightBlobs(file->bytes(), *entries, stop); !s.ok()) return WithPath(path, s);
  // The time of last use, by which Shrink chooses. In a read-only folder nothing is deleted either.
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  return CachedWeights(*std::move(file), *std::move(entries));
}

absl::Status WeightCache::Discard(const WeightCacheKey& key) const {
  if (auto s = CheckWeightCacheKey(key); !s.ok()) return s;
  return Remove(Path(key));
}

absl::StatusOr<bool> WeightCache::Write(const WeightCacheKey& key, std::vector<WeightBlob> blobs,
                                        const std::stop_token& stop, absl::Duration longest_wait) const {
  std::sort(blobs.begin(), blobs.end(),
            [](const WeightBlob& a, const WeightBlob& b) { return a.name < b.name; });
  const absl::StatusOr<size_t> directory_bytes = WeightFileDirectoryBytes(key, blobs);
  if (!directory_bytes.ok()) return directory_bytes.status();
  int64_t bytes = static_cast<int64_t>(*directory_bytes);
  for (const WeightBlob& blob : blobs) bytes += static_cast<int64_t>(PaddedBlobBytes(blob.bytes.size()));
  if (bytes > max_bytes_) {
    return absl::ResourceExhaustedError(
        Concat(folder_, ": ", bytes, " bytes of weights, but the cache may hold ", max_bytes_));
  }
  if (auto s = CreateFolder(folder_); !s.ok()) return s;
  const auto lock = LockFolder(folder_, stop, longest_wait);
  if (!lock.ok()) return lock.status();
  if (Open(key, stop).ok()) return false;  // another process was quicker
  const absl::StatusOr<std::string> directory = EncodeWeightFileDirectory(key, blobs, stop);
  if (!directory.ok()) return WithPath(folder_, directory.status());

  const std::string path = Path(key);
  if (auto s = RemoveLeftovers(folder_); !s.ok()) return s;
  auto file = TemporaryFile::Create(folder_);
  if (!file.ok()) return file.status();
  if (auto s = Remove(path); !s.ok()) return s;  // of no use, and its bytes count
  if (auto s = Shrink(folder_, max_bytes_ - bytes); !s.ok()) return s;
  if (auto s = file->Allocate(bytes); !s.ok()) return s;
  const absl::Span<const std::byte> head(reinterpret_cast<const std::byte*>(directory->data()),
                                         directory->size());
  if (auto s = file->Append(head, stop); !s.ok()) return s;
  if (auto s = AppendBlobs(blobs, stop, *file); !s.ok()) return s;
  if (auto s = file->MoveTo(path, stop); !s.ok()) return s;
  // Reads it back: checked on the disk, and in memory for the next start.
  if (const auto stored = Open(key, stop); !stored.ok()) return stored.status();
  return true;
}

}  // namespace memgate
