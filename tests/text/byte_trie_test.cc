#include "engine/text/byte_trie.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

namespace memgate {
namespace {

std::vector<std::pair<size_t, int>> Prefixes(const ByteTrie& trie, std::string_view text) {
  std::vector<std::pair<size_t, int>> found;
  trie.ForEachPrefix(text,
                     [&](const ByteTrie::Match& match) { found.emplace_back(match.bytes, match.value); });
  return found;
}

TEST(ByteTrieTest, FindsAllKeysThatATextStartsWithShortestFirst) {
  const ByteTrie trie({{"ab", 7}, {"a", 3}, {"abcd", 5}, {"b", 1}, {"\xFF\x00", 9}});
  EXPECT_THAT(Prefixes(trie, "abcx"), testing::ElementsAre(std::pair(1u, 3), std::pair(2u, 7)));
  EXPECT_THAT(Prefixes(trie, "abcd"),
              testing::ElementsAre(std::pair(1u, 3), std::pair(2u, 7), std::pair(4u, 5)));
  EXPECT_THAT(Prefixes(trie, "c"), testing::IsEmpty());
  EXPECT_THAT(Prefixes(trie, ""), testing::IsEmpty());
  EXPECT_EQ(trie.Longest("abc").bytes, 2u);
  EXPECT_EQ(trie.Longest("x").bytes, 0u);
}

TEST(ByteTrieTest, LeavesOutEmptyKeysAndTakesTheLastOfEqualOnes) {
  EXPECT_TRUE(ByteTrie().empty());
  EXPECT_TRUE(ByteTrie({{"", 1}}).empty());
  EXPECT_EQ(ByteTrie({{"a", 1}, {"", 5}, {"a", 2}}).Longest("a").value, 2);
}

TEST(ByteTrieTest, AgreesWithAMapOnRandomKeys) {
  std::mt19937 random(2);
  const auto random_text = [&](size_t largest) {
    std::string text;
    for (size_t i = random() % largest; i > 0; --i)
      text.push_back(static_cast<char>("abc\x00\xC3\xFF"[random() % 6]));
    return text;
  };
  std::map<std::string, int32_t> keys;
  while (keys.size() < 500) keys.emplace(random_text(8) + "a", static_cast<int32_t>(keys.size()));
  const ByteTrie trie({keys.begin(), keys.end()});
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(12);
    std::vector<std::pair<size_t, int>> expected;
    for (size_t bytes = 1; bytes <= text.size(); ++bytes) {
      const auto found = keys.find(text.substr(0, bytes));
      if (found != keys.end()) expected.emplace_back(bytes, found->second);
    }
    EXPECT_EQ(Prefixes(trie, text), expected);
  }
}

}  // namespace
}  // namespace memgate
