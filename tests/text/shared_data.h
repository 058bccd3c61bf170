// Data for tests that lies beside the repository; tests skip where it is missing.
#ifndef MEMGATE_TESTS_TEXT_SHARED_DATA_H_
#define MEMGATE_TESTS_TEXT_SHARED_DATA_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"

namespace memgate {

inline const std::string kData = MEMGATE_SOURCE_DIR "/../shared/data";

#define SKIP_WITHOUT(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no such file or folder: " << (path)

inline nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// The ids of `text` without the begin token.
inline std::vector<TokenId> EncodeBare(const Tokenizer& tokenizer, const std::string& text,
                                       SpecialTokens special = SpecialTokens::kParse) {
  const std::vector<TokenId> begin = *tokenizer.Encode("", TextPosition::kStart);
  std::vector<TokenId> ids = *tokenizer.Encode(text, TextPosition::kStart, special);
  EXPECT_TRUE(std::equal(begin.begin(), begin.end(), ids.begin()));
  ids.erase(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(begin.size()));
  return ids;
}

// That a tokenizer of the stories models gives the ids that other implementations agree on.
inline void ExpectIdsOfStories(const Tokenizer& tokenizer) {
  const nlohmann::json vectors = ReadJson(kData + "/models/expected/stories260K.tokenizer-vectors.json");
  ASSERT_EQ(vectors.size(), 400u);
  for (const nlohmann::json& vector : vectors) {
    const std::string text = vector["text"];
    const std::vector<TokenId> ids = *tokenizer.Encode(text, TextPosition::kStart);
    EXPECT_EQ(ids, vector["ids_with_bos"].get<std::vector<TokenId>>()) << text;
    EXPECT_EQ(Decode(tokenizer, ids, TextPosition::kStart), text);
  }
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_TEXT_SHARED_DATA_H_
