#include "engine/text/unicode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/text/byte_alphabet.h"

namespace memgate {
namespace {

TEST(UnicodeTest, ReadsEveryCodePointThatItWrites) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    AppendUtf8(code, text);
    const Utf8Step step = ReadUtf8(text);
    ASSERT_EQ(step.state, Utf8State::kValid) << std::hex << static_cast<uint32_t>(code);
    ASSERT_EQ(step.code_point, code);
    ASSERT_EQ(step.bytes, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(ReadUtf8(std::string_view(text).substr(0, cut)).state, Utf8State::kIncomplete);
      ASSERT_EQ(CompleteUtf8Bytes("ab" + text.substr(0, cut)), 2u);
    }
  }
}

TEST(UnicodeTest, RefusesOverlongFormsSurrogatesAndStrayBytes) {
  for (const char* text : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x28"}) {
    EXPECT_EQ(ReadUtf8(text).state, Utf8State::kInvalid) << text;
  }
}

TEST(UnicodeTest, ReportsTheOffsetOfTheFirstInvalidByte) {
  EXPECT_TRUE(CheckUtf8("plain text, longer than one block, é").ok());
  EXPECT_THAT(std::string(CheckUtf8("0123456789\xFF").message()), testing::HasSubstr("at byte 10"));
  EXPECT_THAT(std::string(CheckUtf8("ab\xE2\x82", 100).message()), testing::HasSubstr("at byte 102"));
}

TEST(UnicodeTest, ComposesToNfc) { EXPECT_EQ(*NormalizeUnicode("e\xCC\x81", NormalizationForm::kNfc), "é"); }

TEST(UnicodeTest, RefusesRunsOfMarksThatNoTextHas) {
  const auto marked = [](int count) {
    std::string text = "a";
    for (int i = 0; i < count; ++i) text += i % 2 == 0 ? "\xCC\x81" : "\xCC\x96";  // above and below
    return NormalizeUnicode(text + "a", NormalizationForm::kNfc).status();
  };
  EXPECT_TRUE(marked(256).ok());
  EXPECT_EQ(marked(257).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ByteAlphabetTest, SpellsEveryByteInItsOwnWay) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelling;
    AppendUtf8(SpellByte(static_cast<unsigned char>(byte)), spelling);
    EXPECT_EQ(BytesOfSpelling(spelling), std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(BytesOfSpelling("Ġa"), " a");
  EXPECT_EQ(BytesOfSpelling("a b"), std::nullopt);
}

}  // namespace
}  // namespace memgate
