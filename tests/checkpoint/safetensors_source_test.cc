#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

std::vector<float> Values(const TensorSource& source, std::string_view name) {
  const absl::StatusOr<TensorView> view = source.Find(name);
  if (!view.ok()) return {};
  std::vector<float> values(view->elements());
  ToFloat(*view, absl::MakeSpan(values));
  return values;
}

TEST(SafetensorsFileTest, ReadsWhatWasWritten) {
  TempFolder folder;
  for (int padding = 0; padding < 8; ++padding) {  // every alignment of the data
    const std::string path = folder.Write(
        "x.safetensors",
        SafetensorsImage({F32Tensor("b", {2, 2}, {1, 2, 3, 4}), BF16Tensor("a", {3}, {5, 6, 7})}, padding));
    const auto source = OpenSafetensorsFile(path);
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_THAT((*source)->Names(), ElementsAre("a", "b"));
    EXPECT_TRUE((*source)->Has("a"));
    EXPECT_FALSE((*source)->Has("c"));
    EXPECT_THAT(Values(**source, "b"), ElementsAre(1, 2, 3, 4));
    EXPECT_THAT(Values(**source, "a"), ElementsAre(5, 6, 7));
    EXPECT_EQ((*source)->Find("b")->shape, (std::vector<int64_t>{2, 2}));
    EXPECT_EQ((*source)->Find("b")->bytes, 16u);
  }
}

// KiB of the file that this process holds in memory.
int64_t ResidentKiB(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  int64_t total = 0;
  bool is_file = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find('-') < line.find(' '))
      is_file = line.find(path) != std::string::npos;  // "begin-end ... path"
    if (is_file && line.rfind("Rss:", 0) == 0) total += std::stoll(line.substr(4));
  }
  return total;
}

TEST(SafetensorsFileTest, ReleasedPagesLeaveMemoryAndAreReadAgain) {
  TempFolder folder;
  constexpr int64_t kFloats = int64_t{1} << 20;
  std::vector<float> values(kFloats);
  std::iota(values.begin(), values.end(), 0.0f);
  const std::string path =
      folder.Write("x.safetensors", SafetensorsImage({F32Tensor("a", {kFloats}, values)}));
  const auto source = OpenSafetensorsFile(path);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(Values(**source, "a"), values);
  EXPECT_GE(ResidentKiB(path), 4096);
  (*source)->ReleasePages();
  EXPECT_EQ(ResidentKiB(path), 0);
  EXPECT_EQ(Values(**source, "a"), values);
}

TEST(SafetensorsFileTest, NamesTensorAndFileIfNotFound) {
  TempFolder folder;
  const std::string path = folder.Write("x.safetensors", SafetensorsImage({}));
  const auto source = OpenSafetensorsFile(path);
  ASSERT_TRUE(source.ok()) << source.status();
  const absl::Status status = (*source)->Find("lm_head.weight").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(status), "no tensor \"lm_head.weight\" in " + path);
}

TEST(SafetensorsFileTest, UnreadableElementTypeMattersOnlyToWhoAsksForIt) {
  TempFolder folder;
  const std::string path =
      folder.Write("x.safetensors",
                   SafetensorsImage({{"ids", "I64", {1}, std::string(8, '\0')}, F32Tensor("w", {1}, {3})}));
  const auto source = OpenSafetensorsFile(path);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->Names(), ElementsAre("w"));
  EXPECT_FALSE((*source)->Has("ids"));
  EXPECT_THAT(Values(**source, "w"), ElementsAre(3));
  const absl::Status status = (*source)->Find("ids").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(Message(status),
            "tensor \"ids\" in " + path + " has dtype \"I64\"; supported are F32, F16 and BF16");
}

TEST(SafetensorsFileTest, SaysWhichFileIsMissingOrMalformed) {
  TempFolder folder;
  const absl::Status missing = OpenSafetensorsFile(folder.File("none.safetensors")).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(missing), StartsWith(folder.File("none.safetensors")));

  const std::string path = folder.Write("bad.safetensors", "not a model");
  const absl::Status malformed = OpenSafetensorsFile(path).status();
  EXPECT_EQ(malformed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(malformed), StartsWith(path + ": "));
}

TEST(SafetensorsFileTest, RefusesEveryTruncatedFile) {
  TempFolder folder;
  const std::string image = SafetensorsImage({F32Tensor("w", {2}, {1, 2})});
  for (size_t bytes = 0; bytes < image.size(); ++bytes) {
    const std::string path = folder.Write("x.safetensors", std::string_view(image).substr(0, bytes));
    EXPECT_EQ(OpenSafetensorsFile(path).status().code(), absl::StatusCode::kInvalidArgument) << bytes;
  }
}

TEST(MappedFileTest, RefusesWhatIsNoRegularFile) {
  TempFolder folder;
  EXPECT_EQ(MappedFile::Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string pipe = folder.File("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(pipe).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MappedFileTest, MapsEmptyFiles) {
  TempFolder folder;
  const auto file = MappedFile::Open(folder.Write("empty", ""));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->bytes().size(), 0u);
  EXPECT_EQ(file->text(), "");
}

TEST(MappedFileTest, BytesSurviveAMoveAndARename) {
  TempFolder folder;
  const std::string path = folder.Write("a", "first");
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const std::string_view text = file->text();
  MappedFile moved = *std::move(file);
  folder.Write("b", "other");
  ASSERT_EQ(::rename(folder.File("b").c_str(), path.c_str()), 0);
  EXPECT_EQ(text, "first");
  EXPECT_EQ(moved.text(), "first");
}

class SafetensorsFolderTest : public testing::Test {
 protected:
  void WriteIndex(std::string_view weight_map) {
    folder_.Write("model.safetensors.index.json",
                  "{\"metadata\":{\"total_size\":8},\"weight_map\":" + std::string(weight_map) + "}");
  }
  void WriteShards() {
    folder_.Write("s1.safetensors", SafetensorsImage({F32Tensor("a", {1}, {1}), F32Tensor("b", {1}, {2})}));
    folder_.Write("s2.safetensors", SafetensorsImage({F32Tensor("c", {1}, {3}), F32Tensor("a", {1}, {9})}));
  }
  absl::Status OpenStatus() { return OpenSafetensorsFolder(folder_.path()).status(); }

  TempFolder folder_;
};

TEST_F(SafetensorsFolderTest, OpensASingleFile) {
  folder_.Write("model.safetensors", SafetensorsImage({F32Tensor("w", {1}, {4})}));
  const auto source = OpenSafetensorsFolder(folder_.path());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT(Values(**source, "w"), ElementsAre(4));
}

TEST_F(SafetensorsFolderTest, OpensShardsAsOneSource) {
  WriteShards();
  WriteIndex(R"({"a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors"})");
  const auto source = OpenSafetensorsFolder(folder_.path());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->Names(), ElementsAre("a", "b", "c"));
  EXPECT_THAT(Values(**source, "a"), ElementsAre(1));  // the copy in s2 is not the listed one
  EXPECT_THAT(Values(**source, "b"), ElementsAre(2));
  EXPECT_THAT(Values(**source, "c"), ElementsAre(3));
  EXPECT_EQ(Message((*source)->Find("d").status()), "no tensor \"d\" in " + folder_.path());
  const std::string second = "tensor \"c\" in " + folder_.File("s2.safetensors");
  EXPECT_EQ((*source)->Describe("c"), second);
  EXPECT_EQ(Message(FindShaped(**source, "c", {2}).status()), second + " has shape [1], expected [2]");
}

TEST_F(SafetensorsFolderTest, HidesTensorsThatTheIndexDoesNotList) {
  WriteShards();
  WriteIndex(R"({"b":"s1.safetensors"})");
  const auto source = OpenSafetensorsFolder(folder_.path());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT((*source)->Names(), ElementsAre("b"));
}

TEST_F(SafetensorsFolderTest, SaysWhatWasLookedForInAnEmptyFolder) {
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(OpenStatus()),
            folder_.path() + ": found neither model.safetensors nor model.safetensors.index.json");
}

TEST_F(SafetensorsFolderTest, DoesNotFallBackToShardsWhenTheSingleFileIsMalformed) {
  WriteShards();
  WriteIndex(R"({"a":"s1.safetensors"})");
  folder_.Write("model.safetensors", "broken");
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SafetensorsFolderTest, NamesAMissingShard) {
  WriteShards();
  WriteIndex(R"({"a":"s1.safetensors","z":"s3.safetensors"})");
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(OpenStatus()), StartsWith(folder_.File("s3.safetensors") + ": no such file"));
  EXPECT_THAT(Message(OpenStatus()), HasSubstr("\"z\""));
}

TEST_F(SafetensorsFolderTest, NamesATensorThatIsNotInItsShard) {
  WriteShards();
  WriteIndex(R"({"a":"s1.safetensors","c":"s1.safetensors"})");
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(OpenStatus()),
              HasSubstr("tensor \"c\" is not in shard " + folder_.File("s1.safetensors")));
}

TEST_F(SafetensorsFolderTest, NamesAMalformedShard) {
  folder_.Write("s1.safetensors", "broken");
  WriteIndex(R"({"a":"s1.safetensors"})");
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(OpenStatus()), StartsWith(folder_.File("s1.safetensors") + ": "));
}

TEST_F(SafetensorsFolderTest, ShardNamesCannotLeaveTheFolder) {
  WriteShards();
  for (const char* name : {"../x.safetensors", "/etc/passwd", "sub/s1.safetensors", "", ".", "..",
                           "s1.safetensors\\u0000.txt", "./s1.safetensors"}) {
    WriteIndex("{\"a\":\"" + std::string(name) + "\"}");
    EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(Message(OpenStatus()), HasSubstr("must name a file in this folder")) << name;
  }
}

TEST_F(SafetensorsFolderTest, RefusesAMalformedIndex) {
  const std::string index = folder_.File("model.safetensors.index.json");
  for (const char* text :
       {"", "[]", "{}", "{\"weight_map\":3}", "{\"weight_map\":{\"a\":3}}", "{\"weight_map\":{",
        "{\"weight_map\":{\"a\":\"s\",\"a\":\"s\"}}", "{\"weight_map\":[[[[[[[[[[]]]]]]]]]]}"}) {
    folder_.Write("model.safetensors.index.json", text);
    EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(Message(OpenStatus()), StartsWith(index + ": ")) << text;
  }
}

}  // namespace
}  // namespace memgate
