#include "server/printable.h"

#include <gtest/gtest.h>

#include <string>

namespace memgate {
namespace {

using namespace std::string_literals;  // NOLINT: texts with a byte 0

TEST(PrintableTest, KeepsTextOfEveryScript) {
  for (const std::string text : {"", "model.layers.0", "Grüße, 世界, 🦊", "a\\b \"c\""}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(PrintableTest, SpellsControlCharacters) {
  EXPECT_EQ(Printable("\x1b[2J\x1b]0;title\x07"), "\\x1b[2J\\x1b]0;title\\x07");
  EXPECT_EQ(Printable("a\nb\rc\td\x7f"), "a\\x0ab\\x0dc\\x09d\\x7f");
  EXPECT_EQ(Printable("\0x"s), "\\x00x");
  EXPECT_EQ(Printable("\u009b31m"), "\\xc2\\x9b31m");  // CSI in one character
  EXPECT_EQ(Printable("\u00a0"), "\u00a0");
}

TEST(PrintableTest, SpellsBytesThatAreNotUtf8) {
  EXPECT_EQ(Printable("a\xff\xc3"), "a\\xff\\xc3");
  EXPECT_EQ(Printable("\xe4\xb8"), "\\xe4\\xb8");
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf");
}

}  // namespace
}  // namespace memgate
