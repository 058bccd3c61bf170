#include "engine/text/charsmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/text/charsmap_blobs.h"

namespace memgate {
namespace {

using testing::HasSubstr;

TEST(CharsmapTest, FindsTheLongestReplacedPrefix) {
  const Charsmap map = *Charsmap::Parse(CharsmapBlob({{"A", "a"}, {"ABC", "long"}, {"é", ""}}));
  EXPECT_EQ(map.Longest("ABD").bytes, 1u);
  EXPECT_EQ(map.Longest("ABCD").bytes, 3u);
  EXPECT_EQ(map.Longest("ABCD").replacement, "long");
  EXPECT_EQ(map.Longest("é!").bytes, 2u);
  EXPECT_EQ(map.Longest("é!").replacement, "");
  for (const char* text : {"", "x", "\xC3"}) EXPECT_EQ(map.Longest(text).bytes, 0u);
  EXPECT_EQ(map.Longest(std::string_view("\0A", 2)).bytes, 0u);
}

TEST(CharsmapTest, ReplacesWholeCharacters) {
  const Charsmap map = *Charsmap::Parse(CharsmapBlob({{"\xC3", ""}}));
  EXPECT_EQ(map.Longest("é").bytes, 0u);
}

std::string ErrorOf(const std::string& blob) {
  const absl::Status status = Charsmap::Parse(blob).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(CharsmapTest, RefusesSizesThatDoNotFit) {
  const std::string blob = CharsmapBlob({{"A", "a"}});
  EXPECT_THAT(ErrorOf(""), HasSubstr("shorter than its header"));
  EXPECT_THAT(ErrorOf(blob.substr(0, 100)), HasSubstr("a trie of"));
  EXPECT_THAT(ErrorOf(std::string(8, '\0')), HasSubstr("a trie of 0 bytes"));
  EXPECT_THAT(ErrorOf(blob.substr(0, blob.size() - 1)), HasSubstr("has no end"));
}

TEST(CharsmapTest, RefusesReplacementsOfAnyLength) {
  EXPECT_TRUE(Charsmap::Parse(CharsmapBlob({{"A", std::string(1024, 'a')}})).ok());
  EXPECT_THAT(ErrorOf(CharsmapBlob({{"A", std::string(1025, 'a')}})), HasSubstr("more than 1024 bytes"));
}

TEST(CharsmapTest, RefusesReplacementsThatAreNoText) {
  EXPECT_THAT(ErrorOf(CharsmapBlob({{"A", "\xFF"}})), HasSubstr("not valid UTF-8"));
  // The leaf of "B" is moved into the middle of a character, then past the end.
  const std::string blob = CharsmapBlob({{"A", "é"}, {"B", "b"}});
  const uint32_t leaf = 0x80000000u | 3;  // after "é" and its zero byte
  const size_t at = blob.find(std::string(reinterpret_cast<const char*>(&leaf), sizeof(leaf)));
  ASSERT_NE(at, std::string::npos);
  for (const uint32_t value : {0x80000001u, 0x80001000u}) {
    std::string broken = blob;
    std::memcpy(broken.data() + at, &value, sizeof(value));
    EXPECT_THAT(ErrorOf(broken), HasSubstr("refers to no replacement"));
  }
}

}  // namespace
}  // namespace memgate
