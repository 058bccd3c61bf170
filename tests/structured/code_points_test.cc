#include "engine/structured/code_points.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/text/unicode.h"

namespace memgate {
namespace {

bool Spells(const std::vector<ByteSequence>& sequences, const std::string& text) {
  int found = 0;
  for (const ByteSequence& sequence : sequences) {
    bool fits = sequence.size() == text.size();
    for (size_t i = 0; fits && i < text.size(); ++i) {
      const uint8_t byte = static_cast<uint8_t>(text[i]);
      fits = sequence[i].first <= byte && byte <= sequence[i].last;
    }
    found += fits;
  }
  EXPECT_LE(found, 1) << "more than one sequence spells the same character";
  return found > 0;
}

TEST(CodePointSetTest, RangesAreJoinedAndSurrogatesLeftOut) {
  const CodePointSet set({{'c', 'd'}, {'a', 'b'}, {'f', 'f'}, {0xD7FE, 0xE001}, {0x10FFFE, 0x200000}});
  EXPECT_EQ(set.ranges(),
            (std::vector<CodePointRange>{
                {'a', 'd'}, {'f', 'f'}, {0xD7FE, 0xD7FF}, {0xE000, 0xE001}, {0x10FFFE, 0x10FFFF}}));
  EXPECT_TRUE(CodePointSet({{0xD800, 0xDFFF}}).empty());
  EXPECT_TRUE(CodePointSet::All().Complement().empty());
  EXPECT_EQ(CodePointSet().Complement(), CodePointSet::All());
}

TEST(CodePointSetTest, OperationsAreThoseOfSets) {
  const CodePointSet a({{'a', 'm'}, {'x', 'z'}});
  const CodePointSet b({{'k', 'y'}});
  for (char32_t c = 0; c < 200; ++c) {
    const bool in_a = (c >= 'a' && c <= 'm') || (c >= 'x' && c <= 'z');
    const bool in_b = c >= 'k' && c <= 'y';
    EXPECT_EQ(a.Contains(c), in_a);
    EXPECT_EQ(a.Intersection(b).Contains(c), in_a && in_b);
    EXPECT_EQ(a.Complement().Contains(c), !in_a);
  }
}

TEST(Utf8SequencesTest, SpellExactlyTheCharactersOfTheSet) {
  // Every border between lengths and lead bytes, and what lies beside the set's own borders.
  const std::vector<char32_t> borders = {0,       0x7F,    0x80,    0xBF,     0xC0,    0x7FF,   0x800,
                                         0xFFF,   0x1000,  0xD7FF,  0xE000,   0xFFFF,  0x10000, 0x10FFF,
                                         0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFF};
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<CodePointRange> ranges;
    for (int i = 0; i < 2; ++i) {
      char32_t a = borders[random() % borders.size()] + random() % 3;
      char32_t b =
          random() % 2 ? borders[random() % borders.size()] : static_cast<char32_t>(random() % 0x110000);
      if (a > b) std::swap(a, b);
      ranges.push_back({a, b});
    }
    const CodePointSet set(ranges);
    const std::vector<ByteSequence> sequences = Utf8Sequences(set);
    std::vector<char32_t> probes = borders;
    for (const CodePointRange& range : ranges) {
      for (const char32_t c : {range.first, range.last}) {
        probes.push_back(c);
        probes.push_back(c + 1);
      }
    }
    for (int i = 0; i < 20; ++i) probes.push_back(static_cast<char32_t>(random() % 0x110000));
    for (const char32_t c : probes) {
      if (c > kLastCodePoint || (c >= 0xD800 && c <= 0xDFFF)) continue;
      std::string text;
      AppendUtf8(c, text);
      EXPECT_EQ(Spells(sequences, text), set.Contains(c)) << static_cast<uint32_t>(c);
    }
  }
}

TEST(ReadHexCodePointTest, TakesSoManyDigitsThatNameACharacter) {
  EXPECT_EQ(*ReadHexCodePoint("41zz", 2), U'A');
  EXPECT_EQ(*ReadHexCodePoint("0001F642", 8), char32_t{0x1F642});
  for (const char* text : {"", "4", "4g", " 4", "+4", "0x"})
    EXPECT_FALSE(ReadHexCodePoint(text, 2).ok()) << text;
  EXPECT_FALSE(ReadHexCodePoint("d800", 4).ok());
  EXPECT_FALSE(ReadHexCodePoint("00110000", 8).ok());
}

TEST(Utf8SequencesTest, OfAllCharactersAreFew) { EXPECT_LE(Utf8Sequences(CodePointSet::All()).size(), 9u); }

}  // namespace
}  // namespace memgate
