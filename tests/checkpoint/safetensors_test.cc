#include "engine/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/support/safetensors_writer.h"

namespace memgate {
namespace {

using testing::HasSubstr;

absl::StatusOr<std::vector<SafetensorsEntry>> Parse(const std::string& image) {
  // A heap copy of exactly this size, so that a sanitizer sees the first byte read past the end.
  const auto copy = std::make_unique<char[]>(image.size());
  std::memcpy(copy.get(), image.data(), image.size());
  return ParseSafetensorsHeader(AsBytes({copy.get(), image.size()}));
}

std::string SmallImage() {
  return SafetensorsImage({F32Tensor("b", {2, 2}, {1, 2, 3, 4}), BF16Tensor("a", {3}, {1, 2, 3})});
}

TEST(SafetensorsHeaderTest, ListsTensorsInByteOrderOfName) {
  const std::string image =
      SafetensorsImage({F32Tensor("b", {2, 2}, {1, 2, 3, 4}), BF16Tensor("é", {3}, {1, 2, 3}),
                        F32Tensor("B", {}, {5}), F32Tensor("empty", {4, 0}, {})});
  const auto entries = Parse(image);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 4u);
  EXPECT_EQ((*entries)[0].name, "B");
  EXPECT_EQ((*entries)[0].shape, std::vector<int64_t>{});
  EXPECT_EQ((*entries)[1].name, "b");
  EXPECT_EQ((*entries)[1].dtype, DType::kF32);
  EXPECT_EQ((*entries)[1].dtype_name, "F32");
  EXPECT_EQ((*entries)[1].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ((*entries)[1].end - (*entries)[1].begin, 16u);
  EXPECT_EQ((*entries)[2].name, "empty");
  EXPECT_EQ((*entries)[2].begin, (*entries)[2].end);
  EXPECT_EQ((*entries)[3].name, "é");
  EXPECT_EQ((*entries)[3].dtype, DType::kBF16);
}

TEST(SafetensorsHeaderTest, AcceptsAFileWithoutTensors) {
  for (const char* header : {"{}", "{\"__metadata__\":{\"format\":\"pt\"}}", "{}       "}) {
    const auto entries = Parse(RawSafetensorsImage(header, ""));
    ASSERT_TRUE(entries.ok()) << entries.status();
    EXPECT_TRUE(entries->empty());
  }
}

TEST(SafetensorsHeaderTest, IgnoresMetadata) {
  const auto entries = Parse(RawSafetensorsImage(
      R"({"__metadata__":{"format":"pt","dtype":"x"},"w":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})",
      "ab"));
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ((*entries)[0].name, "w");
}

TEST(SafetensorsHeaderTest, ListsUnreadableElementTypesWithoutADType) {
  const auto entries = Parse(RawSafetensorsImage(R"({"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                                                 R"("n":{"dtype":"Q7","shape":[9],"data_offsets":[8,10]}})",
                                                 "0123456789"));
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ((*entries)[0].dtype, std::nullopt);
  EXPECT_EQ((*entries)[0].dtype_name, "I64");
  EXPECT_EQ((*entries)[1].dtype, std::nullopt);
  EXPECT_EQ((*entries)[1].dtype_name, "Q7");
}

TEST(SafetensorsHeaderTest, RefusesEveryTruncation) {
  const std::string image = SmallImage();
  ASSERT_TRUE(Parse(image).ok());
  for (size_t bytes = 0; bytes < image.size(); ++bytes) {
    const auto entries = Parse(image.substr(0, bytes));
    EXPECT_EQ(entries.status().code(), absl::StatusCode::kInvalidArgument) << bytes;
  }
}

TEST(SafetensorsHeaderTest, AnySingleChangedByteIsReadOrRefusedWithinBounds) {
  const std::string image = SmallImage();
  for (size_t at = 0; at < image.size(); ++at) {
    for (const int change : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
      std::string changed = image;
      changed[at] = static_cast<char>(changed[at] ^ change);
      const auto entries = Parse(changed);
      if (!entries.ok()) continue;
      for (const SafetensorsEntry& entry : *entries) {
        ASSERT_LE(entry.begin, entry.end);
        ASSERT_LE(entry.end, changed.size());
      }
    }
  }
}

TEST(SafetensorsHeaderTest, RefusesLyingHeaderLengths) {
  const std::string image = SmallImage();
  const uint64_t true_length = image.size() - 8 - 22;
  for (const uint64_t length :
       {uint64_t{0}, uint64_t{1}, true_length - 1, true_length + 1, uint64_t{image.size()} - 8,
        uint64_t{image.size()} - 7, uint64_t{1} << 32, uint64_t{1} << 63,
        std::numeric_limits<uint64_t>::max() - 7, std::numeric_limits<uint64_t>::max()}) {
    std::string lying = image;
    std::memcpy(lying.data(), &length, 8);
    EXPECT_EQ(Parse(lying).status().code(), absl::StatusCode::kInvalidArgument) << length;
  }
}

TEST(SafetensorsHeaderTest, RefusesHeadersAboveTheFormatsLimit) {
  const auto entries = Parse(RawSafetensorsImage(std::string(100'000'001, ' '), ""));
  EXPECT_THAT(std::string(entries.status().message()), HasSubstr("limit 100000000"));
}

struct BadHeader {
  const char* message;  // part of it
  const char* json;
  size_t data_bytes = 4;
};

TEST(SafetensorsHeaderTest, NamesTensorAndReason) {
  const BadHeader cases[] = {
      {"malformed JSON at byte 1", ""},
      {"malformed JSON at byte", "{\"w\":"},
      {"malformed JSON at byte", "{} {}"},
      {"malformed JSON at byte", "{\"\xff\":1}"},
      {"malformed JSON at byte", "{\"w\":{\"dtype\":\"F32\",\"shape\":[1e999],\"data_offsets\":[0,4]}}"},
      {"must be a JSON object, found a list", "[]"},
      {"must be a JSON object, found 3", "3"},
      {"tensor \"w\": entry must be an object", R"({"w":3})"},
      {"tensor \"\": names have", R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"},
      {"tensor \"a\\u0000b\": names have",
       R"({"a\u0000b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"},
      {"key \"w\" appears twice", R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                  R"("w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"},
      {"key \"w\" appears twice", R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                  R"("\u0077":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"},
      {"key \"shape\" appears twice",
       R"({"w":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})"},
      {"tensor \"w\": dtype must be a string", R"({"w":{"shape":[1],"data_offsets":[0,4]}})"},
      {"tensor \"w\": dtype must be a string", R"({"w":{"dtype":32,"shape":[1],"data_offsets":[0,4]}})"},
      {"tensor \"w\": shape must be a list", R"({"w":{"dtype":"F32","data_offsets":[0,4]}})"},
      {"tensor \"w\": shape must be a list", R"({"w":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})"},
      {"tensor \"w\": shape holds -1", R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})"},
      {"tensor \"w\": shape holds 1.0", R"({"w":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})"},
      {"tensor \"w\": shape holds null", R"({"w":{"dtype":"F32","shape":[null],"data_offsets":[0,4]}})"},
      {"tensor \"w\": shape holds 9223372036854775808",
       R"({"w":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})"},
      {"tensor \"w\": shape has 9 dimensions",
       R"({"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})"},
      {"tensor \"w\": shape is too large",
       R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}})"},
      {"tensor \"w\": shape is too large",
       R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})"},
      {"tensor \"w\": shape is too large",
       R"({"w":{"dtype":"I64","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})"},
      {"tensor \"w\": data_offsets must be two", R"({"w":{"dtype":"F32","shape":[1]}})"},
      {"tensor \"w\": data_offsets must be two", R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0]}})"},
      {"tensor \"w\": data_offsets must be two",
       R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})"},
      {"tensor \"w\": data_offsets must be two",
       R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,"4"]}})"},
      {"tensor \"w\": data_offsets must be two",
       R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})"},
      {"tensor \"w\": data_offsets [0, 8] do not lie within the 4 bytes",
       R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"},
      {"tensor \"w\": data_offsets [4, 0] do not lie",
       R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})"},
      {"tensor \"w\": data_offsets [18446744073709551615, 18446744073709551615] do not lie",
       R"({"w":{"dtype":"F32","shape":[0],"data_offsets":[18446744073709551615,18446744073709551615]}})"},
      {"tensor \"w\": data_offsets hold 4 bytes, dtype and shape need 8",
       R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})"},
      {"tensor \"w\": data_offsets hold 4 bytes, dtype and shape need 8",
       R"({"w":{"dtype":"I64","shape":[1],"data_offsets":[0,4]}})"},
      {"tensor \"v\": overlaps another tensor",
       R"({"u":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
       6},
      {"tensor \"v\": overlaps another tensor",
       R"({"u":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"},
      {"tensor \"v\": 2 unused bytes before it",
       R"({"u":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"v":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}})",
       6},
      {"tensor \"w\": 2 unused bytes before it", R"({"w":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}})"},
      {"2 bytes after the last tensor", R"({"w":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})"},
      {"4 bytes after the last tensor", "{}"},
  };
  for (const BadHeader& c : cases) {
    const auto entries = Parse(RawSafetensorsImage(c.json, std::string(c.data_bytes, 'x')));
    EXPECT_EQ(entries.status().code(), absl::StatusCode::kInvalidArgument) << c.json;
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr(c.message)) << c.json;
  }
}

TEST(SafetensorsHeaderTest, RefusesDeepNestingWithoutDescending) {
  for (const char* opening : {"[", "{\"a\":"}) {
    std::string header;
    for (int i = 0; i < 1'000'000; ++i) header += opening;
    EXPECT_THAT(std::string(Parse(RawSafetensorsImage(header, "")).status().message()),
                HasSubstr("nested deeper than 8 levels"));
    EXPECT_THAT(std::string(Parse(RawSafetensorsImage("{\"__metadata__\":" + header, "")).status().message()),
                HasSubstr("nested deeper than 8 levels"));
  }
}

TEST(SafetensorsHeaderTest, LimitsTheLengthOfNames) {
  const std::string longest(1024, 'n');
  EXPECT_TRUE(Parse(SafetensorsImage({F32Tensor(longest, {1}, {1})})).ok());
  EXPECT_FALSE(Parse(SafetensorsImage({F32Tensor(longest + "n", {1}, {1})})).ok());
}

TEST(SafetensorsHeaderTest, MessagesStayShortAndAscii) {
  const std::string name = std::string(5000, 'n') + "\xc3\xa9";
  const std::string message(Parse(SafetensorsImage({F32Tensor(name, {1}, {1})})).status().message());
  EXPECT_LT(message.size(), 300u);
  for (const char c : message) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

}  // namespace
}  // namespace memgate
