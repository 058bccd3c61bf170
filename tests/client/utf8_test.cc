#include "client/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "memgate/v1/inference.pb.h"

namespace memgate {
namespace {

TEST(Utf8Test, AcceptsEveryLengthUpToTheLastCharacter) {
  for (const char* text : {"", "a", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(CheckUtf8("it", text).ok()) << text;
  }
  EXPECT_TRUE(CheckUtf8("it", std::string("a\0b", 3)).ok());
}

TEST(Utf8Test, NamesTheFirstBadByte) {
  for (const char* bad : {"\x80", "\xFF", "\xC0\xAF", "\xC3", "\xE2\x82", "\xE0\x9F\xBF", "\xED\xA0\x80",
                          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xC3\x28"}) {
    const absl::Status status = CheckUtf8("it", std::string("\xC3\xA4x") + bad);
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_EQ(status.message(), "it is not UTF-8 (byte 3)");
  }
}

TEST(Utf8Test, FindsStringsAnywhereInAMessage) {
  v1::GenerateRequest request;
  request.add_stop(std::string("fine"));
  request.mutable_chat()->add_messages()->set_content("fine");
  EXPECT_TRUE(CheckUtf8(request).ok());
  v1::GenerateRequest in_chat = request;
  in_chat.mutable_chat()->add_messages()->set_content("x\xFF");
  EXPECT_EQ(CheckUtf8(in_chat).message(), "content is not UTF-8 (byte 1)");
  request.add_stop(std::string("\xFF"));
  EXPECT_EQ(CheckUtf8(request).message(), "stop is not UTF-8 (byte 0)");
}

TEST(Utf8Test, BytesNeedNotBeText) {
  v1::IngestRequest request;
  request.set_text("\xFF");
  EXPECT_TRUE(CheckUtf8(request).ok());
}

}  // namespace
}  // namespace memgate
