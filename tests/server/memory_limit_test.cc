#include "server/memory_limit.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_folder.h"

namespace memgate {
namespace {

TEST(MemoryLimitTest, ReadsBinaryUnits) {
  EXPECT_EQ(*ParseBytes("1024"), 1024);
  EXPECT_EQ(*ParseBytes("7B"), 7);
  EXPECT_EQ(*ParseBytes("2KiB"), 2048);
  EXPECT_EQ(*ParseBytes("512MiB"), int64_t{512} << 20);
  EXPECT_EQ(*ParseBytes("1.5GiB"), int64_t{3} << 29);
  EXPECT_EQ(*ParseBytes("1TiB"), int64_t{1} << 40);
}

TEST(MemoryLimitTest, RejectsWhatIsNoSize) {
  for (const char* text : {"", "MiB", "12MB", "1.2.3", "-5", "5 MiB", "1e3", "99999999999TiB"}) {
    EXPECT_FALSE(ParseBytes(text).ok()) << text;
  }
}

TEST(MemoryLimitTest, FormatsWithTheLargestUnitThatFits) {
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(int64_t{3} << 29), "1.5 GiB");
}

class AvailableMemoryTest : public testing::Test {
 protected:
  void Write(const std::string& file, const std::string& text) {
    const std::filesystem::path path = folder_.path() + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  int64_t Available() { return AvailableMemoryBytes(folder_.path()); }
  TempFolder folder_;
};

TEST_F(AvailableMemoryTest, IsTheMachinesMemoryWithoutACgroup) {
  Write("/proc/meminfo", "MemTotal:       2048 kB\nMemFree:  5 kB\n");
  EXPECT_EQ(Available(), 2048 * 1024);
}

TEST_F(AvailableMemoryTest, IsTheContainersLimit) {
  Write("/proc/meminfo", "MemTotal:       2048 kB\n");
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "1000000\n");
  EXPECT_EQ(Available(), 1'000'000);
}

TEST_F(AvailableMemoryTest, IsTheSmallestLimitOfTheUnitAndItsParents) {
  Write("/proc/meminfo", "MemTotal:       2048 kB\n");
  Write("/proc/self/cgroup", "0::/system.slice/memgate.service\n");
  Write("/sys/fs/cgroup/system.slice/memory.max", "700000\n");
  Write("/sys/fs/cgroup/system.slice/memgate.service/memory.max", "max\n");
  EXPECT_EQ(Available(), 700'000);
}

TEST_F(AvailableMemoryTest, ReadsCgroupVersionOne) {
  Write("/proc/meminfo", "MemTotal:       2048 kB\n");
  Write("/proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "600000\n");
  EXPECT_EQ(Available(), 600'000);
}

TEST_F(AvailableMemoryTest, IsZeroWhereNothingCanBeRead) { EXPECT_EQ(Available(), 0); }

}  // namespace
}  // namespace memgate
