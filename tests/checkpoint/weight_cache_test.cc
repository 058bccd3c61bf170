#include "engine/checkpoint/weight_cache.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using testing::UnorderedElementsAre;

constexpr int64_t kPlenty = 1 << 30;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

WeightCacheKey Key(std::string format) { return {"sha256:ab", std::move(format), "v1"}; }

// A file of 64 bytes times `blocks` and its directory.
absl::Status WriteBlocks(const WeightCache& cache, const WeightCacheKey& key, size_t blocks,
                         const std::stop_token& stop = {}) {
  const std::string text(64 * blocks, key.format[0]);
  return cache.Write(key, {{"w", AsBytes(text)}}, stop).status();
}

bool Holds(const WeightCache& cache, const WeightCacheKey& key) { return cache.Open(key).ok(); }

class WeightCacheTest : public testing::Test {
 protected:
  // Names in the cache's folder without the lock.
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    if (!std::filesystem::exists(path_)) return names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      if (entry.path().filename() != "lock") names.push_back(entry.path().filename().string());
    }
    return names;
  }
  int64_t StoredBytes() const {
    int64_t bytes = 0;
    for (const std::string& name : Files()) bytes += std::filesystem::file_size(path_ + "/" + name);
    return bytes;
  }
  // As if the file had been used `minutes` ago.
  void Age(const std::string& path, int minutes) {
    const auto now = std::filesystem::file_time_type::clock::now();
    std::filesystem::last_write_time(path, now - std::chrono::minutes(minutes));
  }
  void Overwrite(const std::string& path, size_t at, char value) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(at);
    file.put(value);
  }

  unsigned Mode(const std::string& path) {
    struct stat info;
    return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
  }
  // Holds the lock of the folder as another writer would, until it is closed.
  int Lock() {
    std::filesystem::create_directories(path_);
    const int lock = ::open((path_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(::flock(lock, LOCK_EX), 0);
    return lock;
  }

  TempFolder temp_;
  const std::string path_ = temp_.File("a/cache");
};

TEST_F(WeightCacheTest, GivesBackAlignedWhatWasWrittenUnderTheSameKey) {
  const WeightCache cache(path_, kPlenty);
  const std::string first = "first", second(1000, 's');
  ASSERT_TRUE(cache.Write(Key("int8"), {{"b", AsBytes(second)}, {"a", AsBytes(first)}, {"empty", {}}}).ok());
  auto opened = cache.Open(Key("int8"));
  ASSERT_TRUE(opened.ok()) << opened.status();
  const CachedWeights weights = *std::move(opened);
  EXPECT_EQ(*weights.Find("a"), AsBytes(first));
  EXPECT_EQ(*weights.Find("b"), AsBytes(second));
  EXPECT_EQ(weights.Find("empty")->size(), 0u);
  for (const char* name : {"a", "b"}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(weights.Find(name)->data()) % kBlobAlignment, 0u);
  }
  for (const char* name : {"", "A", "aa", "c", "z"}) {
    EXPECT_EQ(weights.Find(name).status().code(), absl::StatusCode::kNotFound) << name;
  }
  EXPECT_THAT(Files(), ElementsAre("sha256:ab,int8,v1.weights"));
}

TEST_F(WeightCacheTest, HoldsNothingUnderOtherKeys) {
  const WeightCache cache(path_, kPlenty);
  EXPECT_EQ(cache.Open(Key("int8")).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteBlocks(cache, Key("int8"), 1).ok());
  EXPECT_EQ(cache.Open(Key("int4")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(cache.Open({"sha256:ab", "int8", "v2"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(cache.Open({"../x", "int8", "v2"}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(WeightCacheTest, AFileUnderTheNameOfAnotherIsNotBelieved) {
  const WeightCache cache(path_, kPlenty);
  ASSERT_TRUE(WriteBlocks(cache, Key("int8"), 1).ok());
  std::filesystem::rename(cache.Path(Key("int8")), cache.Path(Key("int4")));
  const absl::Status status = cache.Open(Key("int4")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), StartsWith(cache.Path(Key("int4")) + ": holds weights of another key"));
}

TEST_F(WeightCacheTest, DamagedFilesAreRefusedWithPathAndReasonAndReplaced) {
  const WeightCache cache(path_, kPlenty);
  const std::string path = cache.Path(Key("int8"));
  const std::vector<std::pair<std::string, std::function<void()>>> damages = {
      {"cut short", [&] { std::filesystem::resize_file(path, 100); }},
      {"cut short", [&] { std::filesystem::resize_file(path, 0); }},
      {"blob \"w\"", [&] { Overwrite(path, std::filesystem::file_size(path) - 1, '!'); }},
      {"its directory", [&] { Overwrite(path, 45, '!'); }},
      {"version 9", [&] { Overwrite(path, 12, 9); }},
      {"wrong magic", [&] { Overwrite(path, 0, '!'); }},
      {"not a regular file",
       [&] {
         std::filesystem::remove(path);
         ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
       }},
  };
  for (const auto& [reason, damage] : damages) {
    ASSERT_TRUE(WriteBlocks(cache, Key("int8"), 3).ok());
    ASSERT_TRUE(Holds(cache, Key("int8")));
    damage();
    const absl::Status status = cache.Open(Key("int8")).status();
    EXPECT_THAT(Message(status), StartsWith(path + ": "));
    EXPECT_THAT(Message(status), HasSubstr(reason));
    EXPECT_TRUE(WriteBlocks(cache, Key("int8"), 3).ok()) << reason;
    EXPECT_TRUE(Holds(cache, Key("int8"))) << reason;
  }
}

TEST_F(WeightCacheTest, AGoodFileIsNotWrittenAgain) {
  const WeightCache cache(path_, kPlenty);
  ASSERT_TRUE(WriteBlocks(cache, Key("int8"), 1).ok());
  struct stat before, after;
  ASSERT_EQ(::stat(cache.Path(Key("int8")).c_str(), &before), 0);
  const absl::StatusOr<bool> written = cache.Write(Key("int8"), {});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_FALSE(*written);
  EXPECT_TRUE(*cache.Write(Key("int4"), {}));
  ASSERT_EQ(::stat(cache.Path(Key("int8")).c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(WeightCacheTest, DiscardedFilesAreGoneAndMayBeMissing) {
  const WeightCache cache(path_, kPlenty);
  EXPECT_TRUE(cache.Discard(Key("int8")).ok());
  ASSERT_TRUE(WriteBlocks(cache, Key("int8"), 1).ok());
  EXPECT_TRUE(cache.Discard(Key("int8")).ok());
  EXPECT_EQ(cache.Open(Key("int8")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(cache.Discard({"../x", "int8", "v1"}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(WeightCacheTest, WhoHasAFileOpenKeepsItWhenItIsEvictedOrReplaced) {
  const WeightCache cache(path_, kPlenty);
  ASSERT_TRUE(WriteBlocks(cache, Key("int8"), 2).ok());
  const auto weights = cache.Open(Key("int8"));
  ASSERT_TRUE(weights.ok()) << weights.status();
  const auto bytes = *weights->Find("w");
  const WeightCache tiny(path_, 400);
  ASSERT_TRUE(WriteBlocks(tiny, Key("other"), 1).ok());
  ASSERT_FALSE(Holds(cache, Key("int8")));
  EXPECT_EQ(bytes, AsBytes(std::string(128, 'i')));
}

TEST_F(WeightCacheTest, TheLongestUnusedFilesLeaveFirstAndTheBoundHolds) {
  const WeightCache cache(path_, 4096);  // three of 1,024 bytes and their directories, no fourth
  for (const char* format : {"a", "b", "c"}) ASSERT_TRUE(WriteBlocks(cache, Key(format), 16).ok());
  Age(cache.Path(Key("a")), 30);
  Age(cache.Path(Key("b")), 20);
  Age(cache.Path(Key("c")), 10);
  ASSERT_TRUE(Holds(cache, Key("a")));  // used now
  ASSERT_TRUE(WriteBlocks(cache, Key("d"), 16).ok());
  EXPECT_LE(StoredBytes(), 4096);
  EXPECT_TRUE(Holds(cache, Key("a")));
  EXPECT_FALSE(Holds(cache, Key("b")));
  EXPECT_TRUE(Holds(cache, Key("c")));
  EXPECT_TRUE(Holds(cache, Key("d")));

  ASSERT_TRUE(WriteBlocks(cache, Key("e"), 60).ok());  // needs all of it
  EXPECT_LE(StoredBytes(), 4096);
  EXPECT_THAT(Files(), ElementsAre("sha256:ab,e,v1.weights"));
}

TEST_F(WeightCacheTest, NothingLeavesForAFileThatCannotFit) {
  const WeightCache cache(path_, 4096);
  ASSERT_TRUE(WriteBlocks(cache, Key("a"), 16).ok());
  const absl::Status status = WriteBlocks(cache, Key("b"), 64);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(status), HasSubstr("but the cache may hold 4096"));
  EXPECT_THAT(Files(), ElementsAre("sha256:ab,a,v1.weights"));
}

// Not even to checksum them: reading these bytes would end the process.
TEST_F(WeightCacheTest, WeightsThatCannotFitAreNotRead) {
  constexpr size_t kBytes = 1 << 20;
  void* const memory = ::mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const WeightCache cache(path_, 4096);
  const auto written = cache.Write(Key("a"), {{"w", {static_cast<const std::byte*>(memory), kBytes}}});
  EXPECT_EQ(written.status().code(), absl::StatusCode::kResourceExhausted);
  ::munmap(memory, kBytes);
}

TEST_F(WeightCacheTest, OtherFilesInTheFolderAreLeftAloneAndDoNotCount) {
  std::filesystem::create_directories(path_ + "/sub.weights");
  temp_.Write("a/cache/notes.txt", std::string(10'000, 'n'));
  temp_.Write("a/cache/writing-notes.txt", "");
  const WeightCache cache(path_, 2048);
  ASSERT_TRUE(WriteBlocks(cache, Key("a"), 16).ok());
  ASSERT_TRUE(WriteBlocks(cache, Key("b"), 16).ok());
  EXPECT_THAT(Files(), UnorderedElementsAre("sub.weights", "notes.txt", "writing-notes.txt",
                                            "sha256:ab,b,v1.weights"));
}

TEST_F(WeightCacheTest, NewFoldersBelongToTheOwnerAlone) {
  for (const char* slashes : {"", "/", "//"}) {
    std::filesystem::remove_all(path_);
    const WeightCache cache(path_ + slashes, kPlenty);
    EXPECT_EQ(cache.folder(), path_);
    ASSERT_TRUE(WriteBlocks(cache, Key("a"), 1).ok());
    EXPECT_EQ(Mode(path_), 0700u);
    EXPECT_EQ(Mode(path_ + "/lock"), 0600u);
  }
}

TEST_F(WeightCacheTest, AFolderThatCannotBeMadeIsAnErrorWithItsPath) {
  const std::string file = temp_.Write("file", "");
  const WeightCache cache(file + "/cache", kPlenty);
  EXPECT_FALSE(Holds(cache, Key("a")));
  const absl::Status status = WriteBlocks(cache, Key("a"), 1);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(Message(status), StartsWith(file));
}

// File permissions bind everyone but root.
class WithoutRoot {
 public:
  WithoutRoot() : root_(::geteuid() == 0) {
    if (root_ && ::seteuid(65534) != 0) std::abort();
  }
  ~WithoutRoot() {
    if (root_ && ::seteuid(0) != 0) std::abort();
  }

 private:
  const bool root_;
};

TEST_F(WeightCacheTest, AReadOnlyFolderStillServesWhatItHolds) {
  const WeightCache cache(path_, kPlenty);
  ASSERT_TRUE(WriteBlocks(cache, Key("a"), 1).ok());
  for (const std::string& folder : {temp_.path(), temp_.File("a"), path_}) {
    ASSERT_EQ(::chmod(folder.c_str(), 0555), 0);
  }
  {
    WithoutRoot user;
    EXPECT_TRUE(Holds(cache, Key("a")));
    const absl::Status status = WriteBlocks(cache, Key("b"), 1);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(Message(status), StartsWith(path_));
  }
  EXPECT_THAT(Files(), ElementsAre("sha256:ab,a,v1.weights"));
  for (const std::string& folder : {temp_.path(), temp_.File("a"), path_}) {
    ASSERT_EQ(::chmod(folder.c_str(), 0700), 0);
  }
}

// No file of this process may grow beyond the limit: what a full disk is to a writer.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_;
  void (*const handler_)(int);
};

TEST_F(WeightCacheTest, AFailedWriteLeavesNothingBehind) {
  const WeightCache cache(path_, kPlenty);
  {
    FileSizeLimit limit(4096);
    EXPECT_FALSE(WriteBlocks(cache, Key("a"), 1000).ok());
  }
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_TRUE(WriteBlocks(cache, Key("a"), 1000).ok());
}

TEST_F(WeightCacheTest, TheNextWriterCleansUpAfterOneThatWasKilled) {
  const WeightCache cache(path_, kPlenty);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit = {4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    (void)WriteBlocks(cache, Key("a"), 1000);  // ends by SIGXFSZ
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_THAT(Files(), ElementsAre(StartsWith("writing-")));
  EXPECT_EQ(cache.Open(Key("a")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(WriteBlocks(cache, Key("b"), 1).ok());
  EXPECT_THAT(Files(), ElementsAre("sha256:ab,b,v1.weights"));
}

TEST_F(WeightCacheTest, AWriterGivesUpOnRequest) {
  const WeightCache cache(path_, kPlenty);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(WriteBlocks(cache, Key("a"), 1, stop.get_token()).code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(WeightCacheTest, AWriterWaitsForTheOneBeforeItAndGivesUpOnRequest) {
  const WeightCache cache(path_, kPlenty);
  const int lock = Lock();
  std::stop_source stop;
  absl::Status stopped, waited;
  std::thread impatient([&] { stopped = WriteBlocks(cache, Key("a"), 1, stop.get_token()); });
  std::thread patient([&] { waited = WriteBlocks(cache, Key("b"), 1); });
  stop.request_stop();
  impatient.join();
  EXPECT_EQ(stopped.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(Files(), IsEmpty());
  ::close(lock);
  patient.join();
  EXPECT_TRUE(waited.ok()) << waited;
  EXPECT_THAT(Files(), ElementsAre("sha256:ab,b,v1.weights"));
}

TEST_F(WeightCacheTest, AWriterWaitsNoLongerThanItIsTold) {
  const WeightCache cache(path_, kPlenty);
  const int lock = Lock();
  for (const absl::Duration wait : {absl::ZeroDuration(), absl::Milliseconds(120)}) {
    const absl::Time begin = absl::Now();
    const absl::Status status = cache.Write(Key("a"), {}, {}, wait).status();
    EXPECT_GE(absl::Now() - begin, wait);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(Message(status), path_ + "/lock: another process writes");
  }
  ::close(lock);
  EXPECT_TRUE(cache.Write(Key("a"), {}, {}, absl::ZeroDuration()).ok());
}

// Somebody cleans the folder up, lock and all, while others write: writes may fail, but whatever opens is
// whole, and nothing else lies under its name.
TEST_F(WeightCacheTest, WithoutTheLockNoHalfFileIsPutInPlaceEither) {
  constexpr int kProcesses = 4;
  const WeightCache cache(path_, kPlenty);
  const std::string lock = path_ + "/lock";
  std::vector<pid_t> children;
  for (int process = 0; process < kProcesses; ++process) {
    const pid_t child = ::fork();
    if (child == 0) {
      const WeightCacheKey key = Key(std::string(1, static_cast<char>('a' + process)));
      for (int round = 0; round < 40; ++round) {
        ::unlink(lock.c_str());
        (void)cache.Discard(key);
        const bool written = WriteBlocks(cache, key, 2000).ok();
        const auto weights = cache.Open(key);
        if (written != weights.ok()) ::_exit(1);
        if (!weights.ok() && !absl::IsNotFound(weights.status())) ::_exit(2);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
}

TEST_F(WeightCacheTest, ManyProcessesShareAFolderAndNeverSeeHalfAFile) {
  constexpr int kProcesses = 4;
  const WeightCache cache(path_, 10'000);  // two of the three files
  std::vector<pid_t> children;
  for (int process = 0; process < kProcesses; ++process) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int round = 0; round < 30; ++round) {
        const WeightCacheKey key = Key(std::string(1, static_cast<char>('a' + (process + round) % 3)));
        if (!WriteBlocks(cache, key, 64).ok()) ::_exit(1);
        const auto weights = cache.Open(key);  // may be evicted again, but whatever opens is whole
        if (!weights.ok() && !absl::IsNotFound(weights.status())) ::_exit(2);
        if (weights.ok() && *weights->Find("w") != AsBytes(std::string(64 * 64, key.format[0]))) ::_exit(3);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
  EXPECT_LE(StoredBytes(), 10'000);
  EXPECT_EQ(Files().size(), 2u);
}

}  // namespace
}  // namespace memgate
