#include "engine/checkpoint/weight_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/checksum.h"
#include "tests/support/safetensors_writer.h"

namespace memgate {
namespace {

using testing::HasSubstr;

const WeightCacheKey kKey = {"sha256:0123", "int8", "panel16-v1"};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

std::string Image(const WeightCacheKey& key, const std::vector<std::pair<std::string, std::string>>& blobs) {
  std::vector<WeightBlob> views;
  for (const auto& [name, bytes] : blobs) views.push_back({name, AsBytes(bytes)});
  auto image = EncodeWeightFileDirectory(key, views);
  if (!image.ok()) return "";
  for (const auto& [name, bytes] : blobs) {
    *image += bytes;
    image->resize(PaddedBlobBytes(image->size()));
  }
  return *image;
}

const std::string& Good() {
  static const auto* const image = new std::string(
      Image(kKey, {{"a", std::string(100, 'x')}, {"b", ""}, {"c", std::string(128, 'y')}, {"d", "z"}}));
  return *image;
}

// Everything that opening a file checks.
absl::Status Check(std::string_view image, const WeightCacheKey& key = kKey) {
  const auto entries = ParseWeightFile(AsBytes(image), key);
  if (!entries.ok()) return entries.status();
  return VerifyWeightBlobs(AsBytes(image), *entries);
}

// Replaces bytes and gives the directory a right checksum again, so that what lies behind it is reached.
template <typename T>
std::string Forged(size_t at, T value) {
  std::string image = Good();
  std::memcpy(image.data() + at, &value, sizeof(value));
  uint64_t directory_bytes;
  std::memcpy(&directory_bytes, Good().data() + 24, sizeof(directory_bytes));
  const uint64_t sum = Checksum64(AsBytes(image).first(directory_bytes - 8));
  std::memcpy(image.data() + directory_bytes - 8, &sum, sizeof(sum));
  return image;
}

constexpr size_t kKeyBegin = 40;
constexpr size_t kFirstEntry = kKeyBegin + 11 + 1 + 4 + 1 + 10 + 1;
constexpr size_t kSecondEntry = kFirstEntry + 24 + 1;

TEST(WeightFileTest, EveryBlobLiesAlignedWhereItsEntrySays) {
  const auto entries = ParseWeightFile(AsBytes(Good()), kKey);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 4u);
  const std::pair<std::string, std::string> expected[] = {
      {"a", std::string(100, 'x')}, {"b", ""}, {"c", std::string(128, 'y')}, {"d", "z"}};
  for (size_t i = 0; i < 4; ++i) {
    const WeightFileEntry& entry = (*entries)[i];
    EXPECT_EQ(entry.name, expected[i].first);
    EXPECT_EQ(entry.begin % kBlobAlignment, 0u);
    EXPECT_EQ(Good().substr(entry.begin, entry.bytes), expected[i].second);
  }
  EXPECT_TRUE(VerifyWeightBlobs(AsBytes(Good()), *entries).ok());
}

TEST(WeightFileTest, HoldsNoBlobsAtAll) { EXPECT_TRUE(Check(Image(kKey, {})).ok()); }

TEST(WeightFileTest, SeesEveryFlippedBit) {
  std::string image = Good();
  for (size_t bit = 0; bit < 8 * image.size(); ++bit) {
    image[bit / 8] = static_cast<char>(image[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(Check(image).ok()) << "byte " << bit / 8;
    image[bit / 8] = static_cast<char>(image[bit / 8] ^ (1 << bit % 8));
  }
}

TEST(WeightFileTest, SeesThatItWasCutShortOrGrew) {
  for (size_t bytes = 0; bytes < Good().size(); ++bytes) {
    const absl::Status status = Check(Good().substr(0, bytes));
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << bytes;
    EXPECT_THAT(Message(status), HasSubstr("cut short")) << bytes;
  }
  EXPECT_THAT(Message(Check(Good() + std::string(64, '\0'))), HasSubstr("bytes instead of"));
}

TEST(WeightFileTest, NamesTheDamagedBlob) {
  std::string image = Good();
  image[image.size() - 64] = 'q';
  EXPECT_EQ(Message(Check(image)), "damaged: the checksum of blob \"d\" does not match");
}

TEST(WeightFileTest, RefusesTheOtherByteOrder) {
  std::string image = Good();
  std::swap(image[8], image[11]);
  std::swap(image[9], image[10]);
  EXPECT_EQ(Check(image).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Message(Check(image)), "written on a machine of the other byte order");
}

TEST(WeightFileTest, RefusesAnotherVersionBeforeItReadsOn) {
  std::string image = Good();
  image[12] = 2;
  EXPECT_EQ(Check(image).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Message(Check(image)), "version 2; this build reads version 1");
  EXPECT_EQ(Message(Check(image.substr(0, 64))), "version 2; this build reads version 1");
}

TEST(WeightFileTest, RefusesFilesOfAnotherKey) {
  const std::vector<WeightCacheKey> others = {{"sha256:0124", "int8", "panel16-v1"},
                                              {"sha256:0123", "int4", "panel16-v1"},
                                              {"sha256:0123", "int8", "panel16-v2"}};
  for (const WeightCacheKey& other : others) {
    const absl::Status status = Check(Good(), other);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(Message(status), HasSubstr("another key"));
  }
}

TEST(WeightFileTest, BelievesNoSizeEvenUnderARightChecksum) {
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{8}, uint64_t{47}, uint64_t{63}, uint64_t{64}, uint64_t{65}, uint64_t{1} << 40,
        ~uint64_t{0}, ~uint64_t{63}, ~uint64_t{0} >> 1}) {
    EXPECT_FALSE(Check(Forged(16, size)).ok()) << "file " << size;
    EXPECT_FALSE(Check(Forged(24, size)).ok()) << "directory " << size;
    EXPECT_FALSE(Check(Forged(kFirstEntry, size)).ok()) << "blob " << size;
    EXPECT_FALSE(Check(Forged(kFirstEntry + 16, size)).ok()) << "name " << size;
  }
  for (const uint32_t count : {0u, 3u, 5u, 1u << 30, ~0u}) {
    EXPECT_FALSE(Check(Forged(32, count)).ok()) << "blobs " << count;
    EXPECT_FALSE(Check(Forged(36, count)).ok()) << "key " << count;
  }
}

TEST(WeightFileTest, RefusesNamesThatAreMissingTwiceOrOutOfOrder) {
  ASSERT_EQ(Good()[kSecondEntry + 24], 'b');
  for (const char name : {'a', 'c', 'd'}) {
    EXPECT_THAT(Message(Check(Forged(kSecondEntry + 24, name))), HasSubstr("out of order"));
  }
  EXPECT_TRUE(Check(Forged(kSecondEntry + 24, 'b')).ok());  // nothing but the name was wrong
}

TEST(WeightFileTest, RefusesToWriteWhatItCouldNotRead) {
  const auto refused = [](const WeightCacheKey& key, std::vector<WeightBlob> blobs) {
    return EncodeWeightFileDirectory(key, blobs).status().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused(kKey, {{"b", {}}, {"a", {}}}));
  EXPECT_TRUE(refused(kKey, {{"a", {}}, {"a", {}}}));
  EXPECT_TRUE(refused(kKey, {{"", {}}}));
  EXPECT_TRUE(refused(kKey, {{std::string(256, 'a'), {}}}));
  EXPECT_FALSE(refused(kKey, {{std::string(255, 'a'), {}}}));
  std::vector<WeightBlob> many;
  for (int i = 0; i < 70'000; ++i) {
    many.push_back({std::string(249, 'a') + std::to_string(100'000 + i), {}});
  }
  EXPECT_TRUE(refused(kKey, many));
}

TEST(WeightFileTest, KeysCannotLeaveTheFolder) {
  for (const std::string part : {"", "/", "a/b", "a\nb", "a,b", "a b", "\x80"}) {
    EXPECT_EQ(CheckWeightCacheKey({part, "f", "l"}).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(CheckWeightCacheKey({"m", part, "l"}).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(CheckWeightCacheKey({"m", "f", part}).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(CheckWeightCacheKey({std::string(81, 'a'), "f", "l"}).ok());
  EXPECT_TRUE(CheckWeightCacheKey({std::string(80, 'a'), "..", "a_b.c-d:e"}).ok());
}

TEST(WeightFileTest, NoBlobIsReadAfterARequestToStop) {
  std::stop_source stop;
  stop.request_stop();
  const std::string bytes(100, 'x');
  const std::vector<WeightBlob> blobs = {{"a", AsBytes(bytes)}};
  EXPECT_EQ(EncodeWeightFileDirectory(kKey, blobs, stop.get_token()).status().code(),
            absl::StatusCode::kCancelled);
  const auto entries = ParseWeightFile(AsBytes(Good()), kKey);
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ(VerifyWeightBlobs(AsBytes(Good()), *entries, stop.get_token()).code(),
            absl::StatusCode::kCancelled);
}

TEST(WeightFileTest, TheSizeOfTheDirectoryIsKnownBeforeBlobsAreRead) {
  for (const size_t count : {0, 1, 2, 50}) {
    std::vector<WeightBlob> blobs;
    for (size_t i = 0; i < count; ++i) blobs.push_back({std::to_string(100 + i), AsBytes("text")});
    EXPECT_EQ(*WeightFileDirectoryBytes(kKey, blobs), EncodeWeightFileDirectory(kKey, blobs)->size());
  }
}

}  // namespace
}  // namespace memgate
