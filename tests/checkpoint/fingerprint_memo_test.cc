#include "engine/checkpoint/fingerprint_memo.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/safetensors.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"

namespace memgate {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class FingerprintMemoTest : public testing::Test {
 protected:
  void WriteModel(float value) {
    temp_.Write("model.safetensors", SafetensorsImage({F32Tensor("w", {1}, {value})}));
  }
  KnownFingerprint Ask(absl::Time now) {
    const auto tensors = OpenSafetensorsFolder(temp_.path());
    EXPECT_TRUE(tensors.ok()) << tensors.status();
    if (!tensors.ok()) return {};
    const auto known = RecallFingerprint(**tensors, cache_, now);
    EXPECT_TRUE(known.ok()) << known.status();
    EXPECT_EQ(known->value, *Fingerprint(**tensors));  // remembered or not, it is the right one
    return *known;
  }
  KnownFingerprint AskLater() { return Ask(absl::Now() + absl::Hours(1)); }

  TempFolder temp_;
  const std::string model_ = temp_.File("model.safetensors");
  const WeightCache cache_{temp_.File("cache"), 1 << 20};
};

TEST_F(FingerprintMemoTest, RemembersAnUnchangedFile) {
  WriteModel(1);
  const KnownFingerprint first = AskLater();
  EXPECT_FALSE(first.remembered());
  EXPECT_EQ(first.recalled.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(first.recalled.message()), StartsWith(cache_.folder()));
  EXPECT_TRUE(first.stored.ok()) << first.stored;
  EXPECT_TRUE(AskLater().remembered());
}

TEST_F(FingerprintMemoTest, ReadsAgainAFileThatWasWrittenInPlace) {
  WriteModel(1);
  struct stat info;
  ASSERT_EQ(::stat(model_.c_str(), &info), 0);
  AskLater();
  WriteModel(2);
  EXPECT_FALSE(AskLater().remembered());
  // The old time of modification does not help: the time of change cannot be set.
  const timespec times[] = {info.st_atim, info.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, model_.c_str(), times, 0), 0);
  EXPECT_FALSE(AskLater().remembered());
}

TEST_F(FingerprintMemoTest, ReadsAgainAFileThatWasReplaced) {
  WriteModel(1);
  AskLater();
  std::filesystem::rename(model_, temp_.File("old"));
  WriteModel(1);
  EXPECT_FALSE(AskLater().remembered());
}

TEST_F(FingerprintMemoTest, DoesNotTrustAFileThatChangedJustNow) {
  WriteModel(1);
  const KnownFingerprint first = Ask(absl::Now());
  EXPECT_THAT(std::string(first.stored.message()), EndsWith("changed only just now"));
  EXPECT_FALSE(AskLater().remembered());
  EXPECT_FALSE(Ask(absl::Now() - absl::Hours(1)).remembered());  // stamps of the future
}

TEST_F(FingerprintMemoTest, EveryShardAndTheIndexCount) {
  temp_.Write("a.safetensors", SafetensorsImage({F32Tensor("a", {1}, {1})}));
  temp_.Write("b.safetensors", SafetensorsImage({F32Tensor("a", {1}, {2}), F32Tensor("b", {1}, {3})}));
  const std::string index = "model.safetensors.index.json";
  temp_.Write(index, R"({"weight_map":{"a":"a.safetensors","b":"b.safetensors"}})");
  AskLater();
  ASSERT_TRUE(AskLater().remembered());
  temp_.Write("b.safetensors", SafetensorsImage({F32Tensor("a", {1}, {2}), F32Tensor("b", {1}, {4})}));
  EXPECT_FALSE(AskLater().remembered());
  ASSERT_TRUE(AskLater().remembered());
  temp_.Write(index, R"({"weight_map":{"a":"b.safetensors","b":"b.safetensors"}})");
  EXPECT_FALSE(AskLater().remembered());
}

TEST_F(FingerprintMemoTest, ComputesItWhereNothingCanBeStored) {
  WriteModel(1);
  const WeightCache nowhere(temp_.Write("file", "") + "/cache", 1 << 20);
  const auto tensors = OpenSafetensorsFolder(temp_.path());
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  const auto known = RecallFingerprint(**tensors, nowhere, absl::Now() + absl::Hours(1));
  ASSERT_TRUE(known.ok()) << known.status();
  EXPECT_EQ(known->value, *Fingerprint(**tensors));
  EXPECT_FALSE(known->stored.ok());
}

TEST_F(FingerprintMemoTest, DoesNotWaitForAnotherWriter) {
  WriteModel(1);
  std::filesystem::create_directories(cache_.folder());
  const int lock = ::open((cache_.folder() + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  EXPECT_EQ(AskLater().stored.code(), absl::StatusCode::kUnavailable);
  ::close(lock);
  EXPECT_TRUE(AskLater().stored.ok());
}

TEST_F(FingerprintMemoTest, NoticesThatAFileIsNoLongerWhatWasOpened) {
  WriteModel(1);
  const auto tensors = OpenSafetensorsFolder(temp_.path());
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_TRUE(CheckUnchanged(**tensors).ok());
  std::filesystem::rename(model_, temp_.File("old"));
  EXPECT_EQ(CheckUnchanged(**tensors).code(), absl::StatusCode::kFailedPrecondition);
  WriteModel(1);
  EXPECT_EQ(CheckUnchanged(**tensors).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FingerprintMemoTest, BelievesNoStoredTextThatIsNoFingerprint) {
  WriteModel(1);
  AskLater();
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(cache_.folder())) {
    if (entry.path().extension() == ".weights") path = entry.path().string();
  }
  const std::string model = std::filesystem::path(path).filename().string().substr(0, 6 + 64);
  const WeightCacheKey key = {model, "fingerprint", "v1"};
  ASSERT_EQ(cache_.Path(key), path);
  for (const std::string& text : {std::string(), std::string("sha256:12"), "sha256:" + std::string(64, 'g'),
                                  "sha512:" + std::string(64, '0'), "sha256:" + std::string(65, '0')}) {
    std::filesystem::remove(path);
    ASSERT_TRUE(cache_.Write(key, {{"fingerprint", AsBytes(text)}}).ok());
    const KnownFingerprint known = AskLater();
    EXPECT_THAT(std::string(known.recalled.message()), HasSubstr("no fingerprint")) << text;
    EXPECT_TRUE(known.stored.ok()) << known.stored;
    EXPECT_TRUE(AskLater().remembered()) << text;
  }
}

}  // namespace
}  // namespace memgate
