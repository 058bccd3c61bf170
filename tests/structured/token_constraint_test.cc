#include "engine/structured/token_constraint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/structured/gbnf.h"
#include "engine/structured/json_schema.h"
#include "tests/structured/matching.h"
#include "tests/structured/schema_cases.h"

namespace memgate {
namespace {

using nlohmann::json;

// The tokenizer of the demo model: tokens of one and of several bytes, "<|endoftext|>" as its last.
class TokenConstraintTest : public testing::Test {
 protected:
  static constexpr TokenId kEnd = 598;
  static constexpr int kVocabSize = 640;  // some ids beyond the tokenizer's, as in padded embeddings

  static void SetUpTestSuite() {
    auto tokenizer = Tokenizer::FromFolder(MEMGATE_SOURCE_DIR "/models/gateway-demo");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = tokenizer->release();
    trie_ = new std::shared_ptr<const TokenTrie>(
        std::make_shared<const TokenTrie>(*tokenizer_, kVocabSize, std::vector<TokenId>{kEnd}));
  }
  static void TearDownTestSuite() {
    delete trie_;
    delete tokenizer_;
  }

  static std::shared_ptr<TokenConstraint> Constrain(absl::StatusOr<Grammar> grammar) {
    EXPECT_TRUE(grammar.ok()) << grammar.status();
    auto constraint = TokenConstraint::Create(*std::move(grammar), *trie_);
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    return *constraint;
  }

  static bool Has(const TokenConstraint::Allowed& allowed, TokenId id) {
    return !allowed.bits.empty() && ((allowed.bits[id / 64] >> (id % 64)) & 1) != 0;
  }

  static TokenId Token(std::string_view bytes) {
    for (TokenId id = 0; id < kEnd; ++id) {
      if (tokenizer_->TokenBytes(id) == bytes) return id;
    }
    ADD_FAILURE() << "no token <" << bytes << ">";
    return 0;
  }

  static std::vector<TokenId> TokensOf(const TokenConstraint::Allowed& allowed) {
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < kVocabSize; ++id) {
      if (Has(allowed, id)) ids.push_back(id);
    }
    return ids;
  }

  static inline Tokenizer* tokenizer_ = nullptr;
  static inline std::shared_ptr<const TokenTrie>* trie_ = nullptr;
};

// Chooses at random among the allowed tokens; after a while rather what closes something, so that texts end.
std::string RandomText(const Tokenizer& tokenizer, std::shared_ptr<TokenConstraint> constraint, TokenId end,
                       const std::function<std::vector<TokenId>(const TokenConstraint::Allowed&)>& tokens_of,
                       std::mt19937& random) {
  constexpr int kPatience = 30;
  TokenConstraint::Cursor cursor(std::move(constraint));
  std::string text;
  for (int step = 0; step < 5000; ++step) {
    const auto allowed = cursor.Next();
    EXPECT_TRUE(allowed.ok()) << allowed.status();
    if (!allowed.ok()) break;
    std::vector<TokenId> ids = tokens_of(*allowed);
    EXPECT_FALSE(ids.empty()) << "nothing may follow <" << text << ">";
    if (ids.empty()) break;
    if (step > kPatience) {
      std::vector<TokenId> ends, brackets;
      for (const TokenId id : ids) {
        const std::string_view bytes = tokenizer.TokenBytes(id);
        if (id == end || bytes == "\"") ends.push_back(id);
        if (bytes == "}" || bytes == "]") brackets.push_back(id);
      }
      if (!brackets.empty() && random() % 2 == 0) ids = brackets;
      if (!ends.empty()) ids = ends;
    }
    const TokenId id = ids[random() % ids.size()];
    if (id == end) return text;
    text += tokenizer.TokenBytes(id);
    EXPECT_TRUE(cursor.Take(id).ok());
  }
  ADD_FAILURE() << "no end: " << text;
  return text;
}

TEST_F(TokenConstraintTest, AllowsExactlyTheTokensWhoseBytesCanFollow) {
  std::mt19937 random(1);
  for (const SchemaCase& c : SchemaCases()) {
    auto constraint = Constrain(CompileJsonSchema(c.schema));
    Matcher reference(*CompileJsonSchema(c.schema));
    TokenConstraint::Cursor cursor(constraint);
    std::string text;
    for (int step = 0; step < 12; ++step) {
      const auto allowed = cursor.Next();
      ASSERT_TRUE(allowed.ok()) << c.name << ": " << allowed.status();
      EXPECT_EQ(allowed->complete, reference.Matches(text)) << c.name << ": " << text;
      for (TokenId id = 0; id < kVocabSize; ++id) {
        const std::string bytes(tokenizer_->TokenBytes(id));
        const bool follows =
            id == kEnd ? reference.Matches(text) : !bytes.empty() && reference.Begins(text + bytes);
        ASSERT_EQ(Has(*allowed, id), follows)
            << c.name << ": token " << id << " <" << bytes << "> after <" << text << ">";
      }
      const std::vector<TokenId> ids = TokensOf(*allowed);
      const TokenId id = ids[random() % ids.size()];
      if (id == kEnd) break;
      text += tokenizer_->TokenBytes(id);
      ASSERT_TRUE(cursor.Take(id).ok());
    }
  }
}

// Masks of places that are far from the end of a limited string are shared; near it each has its own.
TEST_F(TokenConstraintTest, LimitedStringsAllowWhatFitsAtEveryPlace) {
  std::mt19937 random(6);
  for (const auto& [min, max] : std::vector<std::pair<int, int>>{{0, 60}, {50, 60}, {45, 45}, {4090, 4110}}) {
    const std::string schema =
        absl::StrCat(R"({"type": "string", "minLength": )", min, R"(, "maxLength": )", max, "}");
    Matcher reference(*CompileJsonSchema(schema));
    TokenConstraint::Cursor cursor(Constrain(CompileJsonSchema(schema)));
    ASSERT_TRUE(cursor.Take(Token("\"")).ok());
    std::string text = "\"";
    while (true) {
      const auto allowed = cursor.Next();
      ASSERT_TRUE(allowed.ok()) << allowed.status();
      const auto length =
          std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }) - 1;
      const bool looks = max < 100 || length < 10 || length > max - 5;  // most of a long one is passed over
      for (TokenId id = 0; looks && id < kEnd; ++id) {
        const std::string bytes(tokenizer_->TokenBytes(id));
        ASSERT_EQ(Has(*allowed, id), !bytes.empty() && reference.Begins(text + bytes))
            << min << ".." << max << ": <" << bytes << "> after " << length << " characters";
      }
      std::vector<TokenId> ids = TokensOf(*allowed);
      std::erase_if(ids, [](TokenId id) {  // to the very end
        return tokenizer_->TokenBytes(id).find_first_of("\"\\") != std::string_view::npos;
      });
      if (ids.empty()) break;
      const TokenId id = ids[random() % ids.size()];
      text += tokenizer_->TokenBytes(id);
      ASSERT_TRUE(cursor.Take(id).ok());
    }
    EXPECT_TRUE(reference.Matches(text + "\"")) << text;
  }
}

TEST_F(TokenConstraintTest, SpecialTokensAndThoseWithoutTextAreNeverAllowed) {
  TokenConstraint::Cursor cursor(Constrain(ParseGbnf("root ::= .*")));
  const auto allowed = cursor.Next();
  ASSERT_TRUE(allowed.ok());
  for (TokenId id = kEnd + 1; id < kVocabSize; ++id) EXPECT_FALSE(Has(*allowed, id));
  EXPECT_TRUE(Has(*allowed, kEnd));
  for (TokenId id = 0; id < kEnd; ++id) {
    // Single bytes that begin no character are in the vocabulary, but in no text.
    const std::string_view bytes = tokenizer_->TokenBytes(id);
    const uint8_t first = static_cast<uint8_t>(bytes.front());
    EXPECT_EQ(Has(*allowed, id), first < 0x80 || (first >= 0xC2 && first <= 0xF4)) << id;
  }
}

// What random choices make of every schema is what another validator accepts.
TEST_F(TokenConstraintTest, RandomTextsParseAndValidate) {
  std::mt19937 random(2);
  std::vector<SchemaDocuments> schemas;
  for (const SchemaCase& c : SchemaCases()) {
    auto constraint = Constrain(CompileJsonSchema(c.schema));
    Matcher matcher(*CompileJsonSchema(c.schema));
    schemas.push_back({c.schema, {}});
    for (int i = 0; i < 12; ++i) {
      const std::string text = RandomText(*tokenizer_, constraint, kEnd, TokensOf, random);
      EXPECT_TRUE(json::accept(text)) << c.name << ": " << text;
      EXPECT_TRUE(matcher.Matches(text)) << c.name << ": " << text;
      schemas.back().documents.push_back(text);
    }
  }
  const auto verdicts = ReferenceVerdicts(schemas);
  for (size_t i = 0; i < schemas.size(); ++i) {
    ASSERT_EQ(verdicts[i].size(), schemas[i].documents.size());
    for (size_t d = 0; d < verdicts[i].size(); ++d) {
      EXPECT_EQ(verdicts[i][d], json(true)) << SchemaCases()[i].name << ": " << schemas[i].documents[d];
    }
  }
}

TEST_F(TokenConstraintTest, RandomTextsMatchTheirGrammar) {
  std::mt19937 random(3);
  for (const char* grammar :
       {"root ::= \"yes\" | \"no\" | \"maybe \" [0-9]{1,3}", "root ::= (\"- \" [a-z ]{1,10} \"\\n\"){1,4}",
        "root ::= \"<\" name \">\" root? \"</\" name \">\"\nname ::= [a-c]+",
        "root ::= [ä-ü🙂-🙏]{3,6}"}) {
    auto constraint = Constrain(ParseGbnf(grammar));
    Matcher matcher(*ParseGbnf(grammar));
    for (int i = 0; i < 20; ++i) {
      const std::string text = RandomText(*tokenizer_, constraint, kEnd, TokensOf, random);
      EXPECT_TRUE(matcher.Matches(text)) << grammar << "\n" << text;
    }
  }
}

TEST_F(TokenConstraintTest, CursorsThatShareDoNotDisturbEachOther) {
  auto constraint = Constrain(CompileJsonSchema(R"({"type": "array", "items": {"enum": ["ab", "cd"]}})"));
  TokenConstraint::Cursor a(constraint);
  TokenConstraint::Cursor b(constraint);
  for (const char* bytes : {"[", "\"", "a"}) ASSERT_TRUE(a.Take(Token(bytes)).ok());
  ASSERT_TRUE(b.Take(Token("[")).ok());
  EXPECT_TRUE(Has(*a.Next(), Token("b")));
  EXPECT_FALSE(Has(*a.Next(), Token("]")));
  EXPECT_TRUE(Has(*b.Next(), Token("]")));
  EXPECT_FALSE(Has(*b.Next(), Token("b")));
}

TEST_F(TokenConstraintTest, TokensThatAreNotAllowedAreRefused) {
  TokenConstraint::Cursor cursor(Constrain(ParseGbnf("root ::= \"a\"")));
  EXPECT_EQ(cursor.Take(kEnd - 1).code(), absl::StatusCode::kInternal);
}

// Deep nesting makes state after state, until what no cursor needs is dropped.
TEST_F(TokenConstraintTest, ForgettingStatesChangesNothing) {
  auto constraint = Constrain(CompileJsonSchema(
      R"({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}})"));
  TokenConstraint::Cursor deep(constraint);
  TokenConstraint::Cursor shallow(constraint);
  const TokenId open = Token("["), close = Token("]");
  ASSERT_TRUE(shallow.Take(open).ok());
  constexpr int kDepth = 6000;
  for (int i = 0; i < kDepth; ++i) {
    const auto allowed = deep.Next();
    ASSERT_TRUE(allowed.ok()) << i << ": " << allowed.status();
    ASSERT_TRUE(Has(*allowed, open));
    ASSERT_TRUE(deep.Take(open).ok()) << i;
  }
  ASSERT_TRUE(Has(*shallow.Next(), close));
  ASSERT_TRUE(shallow.Take(close).ok());
  EXPECT_EQ(TokensOf(*shallow.Next()), std::vector<TokenId>{kEnd});
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_FALSE(deep.Next()->complete);
    ASSERT_TRUE(deep.Take(close).ok()) << i;
  }
  EXPECT_EQ(TokensOf(*deep.Next()), std::vector<TokenId>{kEnd});
}

// 2^24 stacks before the first byte.
std::string VeryAmbiguousRules() {
  std::string rules;
  for (int i = 0; i < 24; ++i)
    rules += absl::StrCat("r", i, " ::= r", i + 1, " \"a\" | r", i + 1, " \"b\"\n");
  return rules + "r24 ::= \"c\"";
}

// Where answers begin may take more work than an answer may: it is done once, whatever is dropped later.
TEST_F(TokenConstraintTest, TheFirstMaskIsKept) {
  // As many ways that read the same, but for how they end, as may be.
  std::shared_ptr<TokenConstraint> constraint;
  for (int ways = 3000; constraint == nullptr && ways > 0; ways -= 100) {
    std::string grammar = "list ::= \"[\" list \"]\" | \"x\"\nroot ::= list";
    for (int i = 0; i < ways; ++i) absl::StrAppend(&grammar, " | r", i);
    for (int i = 0; i < ways; ++i)
      absl::StrAppend(&grammar, "\nr", i, " ::= [a-z ] r", i, " \"", i, "\" | \".\"");
    auto parsed = ParseGbnf(grammar);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    if (auto made = TokenConstraint::Create(*std::move(parsed), *trie_); made.ok()) constraint = *made;
  }
  ASSERT_NE(constraint, nullptr);
  const TokenId open = Token("[");
  TokenConstraint::Cursor deep(constraint);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(deep.Next().ok()) << i;
    ASSERT_TRUE(deep.Take(open).ok()) << i;
  }
  TokenConstraint::Cursor other(constraint);
  const auto allowed = other.Next();
  ASSERT_TRUE(allowed.ok()) << allowed.status();
  EXPECT_TRUE(Has(*allowed, open));
}

TEST_F(TokenConstraintTest, TooMuchWorkForATokenIsAnError) {
  auto parsed = ParseGbnf("root ::= r0\n" + VeryAmbiguousRules());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto constraint = TokenConstraint::Create(*std::move(parsed), *trie_);
  EXPECT_EQ(constraint.status().code(), absl::StatusCode::kResourceExhausted) << constraint.status();

  // The same behind the first token, which no other begins with.
  parsed = ParseGbnf("root ::= \"\\x01\\x01\" r0\n" + VeryAmbiguousRules());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  TokenConstraint::Cursor cursor(Constrain(std::move(parsed)));
  ASSERT_TRUE(cursor.Next().ok());
  ASSERT_TRUE(cursor.Take(Token("\x01")).ok());
  const absl::Status status = cursor.Next().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find(absl::StrCat(TokenConstraint::kStepsAtOnce, " at once")), std::string::npos)
      << status;
}

// Every token costs some steps more than it may on average, until what was allowed at once is used up.
TEST_F(TokenConstraintTest, TooMuchWorkInTheLongRunIsAnError) {
  constexpr int kWays = 300;  // that read the same, but for how they end
  std::string grammar = "root ::= ";
  for (int i = 0; i < kWays; ++i) absl::StrAppend(&grammar, i > 0 ? " | " : "", "r", i);
  for (int i = 0; i < kWays; ++i) {
    absl::StrAppend(&grammar, "\nr", i, " ::= \"a\" r", i, " \"", i, "\"");
    for (char letter = 'b'; letter <= 'k'; ++letter)
      absl::StrAppend(&grammar, " | \"", std::string(1, letter), "\"");
  }
  TokenConstraint::Cursor cursor(Constrain(ParseGbnf(grammar)));
  const TokenId a = Token("a");
  int tokens = 0;
  absl::Status status;
  for (; status.ok() && tokens < 1000; ++tokens) {
    status = cursor.Next().status();
    if (status.ok()) status = cursor.Take(a);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_GT(tokens, 2);
  EXPECT_LT(tokens, 200);
}

// What compiles at its limit can be written, but for alternatives: those that begin alike are all open at
// once.
TEST_F(TokenConstraintTest, LargestFormatsHaveMasks) {
  const auto list = [](int count, auto each) {
    std::vector<std::string> parts;
    for (int i = 0; i < count; ++i) parts.push_back(each(i));
    return absl::StrJoin(parts, ", ");
  };
  const auto property = [](int i) {
    return absl::StrCat("\"p", i * 7919 % 2003, "\": {\"type\": \"null\"}");
  };
  const auto word = [](int i) { return absl::StrCat("\"w", i * 7919 % 10'007, "\""); };
  const auto tool = [](int i) {
    return absl::StrCat(R"({"type": "object", "properties": {"tool": {"const": "t)", i,
                        R"("}, "arguments": {"type": "object"}}, "required": ["tool", "arguments"]})");
  };
  const std::vector<std::string> schemas = {
      absl::StrCat(R"({"anyOf": [)", list(512, tool), "]}"),
      absl::StrCat(R"({"type": "object", "properties": {)", list(2000, property), "}}"),
      absl::StrCat(R"({"type": "object", "properties": {)", list(1999, property),
                   R"(}, "additionalProperties": {"type": "null"}})"),
      absl::StrCat(R"({"enum": [)", list(10'000, word), "]}"),
      R"({"type": "string", "minLength": 3, "maxLength": 999999})",
      R"({"type": "string", "pattern": "^(a|b)*$", "maxLength": 9000})",
      R"({"type": "array", "items": {"type": "null"}, "maxItems": 25000})",
      R"({"type": "array", "items": {"type": "integer", "multipleOf": 9973}})"};
  std::mt19937 random(5);
  for (const std::string& schema : schemas) {
    auto grammar = CompileJsonSchema(schema);
    ASSERT_TRUE(grammar.ok()) << schema.substr(0, 100) << ": " << grammar.status();
    Matcher matcher(*grammar);
    const std::string text = RandomText(*tokenizer_, Constrain(std::move(grammar)), kEnd, TokensOf, random);
    EXPECT_TRUE(matcher.Matches(text)) << schema.substr(0, 100) << ": " << text;
  }
  // A list of words as a grammar has all of them before the first byte.
  std::string words = "root ::= ";
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&words, i > 0 ? " | " : "", word(i));
  Matcher matcher(*ParseGbnf(words));
  EXPECT_TRUE(matcher.Matches(RandomText(*tokenizer_, Constrain(ParseGbnf(words)), kEnd, TokensOf, random)));
}

// A vocabulary of full size, where it is checked out beside the repository.
TEST(TokenConstraintOnRealVocabularyTest, AllowsExactlyTheTokensWhoseBytesCanFollow) {
  const std::string folder = MEMGATE_SOURCE_DIR "/../shared/data/tokenizers/qwen2";
  if (!std::filesystem::exists(folder + "/tokenizer.json")) GTEST_SKIP() << "no such folder: " << folder;
  auto tokenizer = Tokenizer::FromFolder(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const int size = (*tokenizer)->vocab_size();
  ASSERT_GT(size, 150'000);
  const TokenId end = size - 1;
  auto trie = std::make_shared<const TokenTrie>(**tokenizer, size, std::vector<TokenId>{end});
  const std::string schema = R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
      "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["name", "tags"], "additionalProperties": false})";
  auto constraint = TokenConstraint::Create(*CompileJsonSchema(schema), trie);
  ASSERT_TRUE(constraint.ok()) << constraint.status();
  Matcher reference(*CompileJsonSchema(schema));
  std::mt19937 random(4);
  TokenConstraint::Cursor cursor(*constraint);
  std::string text;
  for (int step = 0; step < 12; ++step) {
    const auto allowed = cursor.Next();
    ASSERT_TRUE(allowed.ok()) << allowed.status();
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < size; ++id) {
      const bool has = !allowed->bits.empty() && ((allowed->bits[id / 64] >> (id % 64)) & 1) != 0;
      if (id == end) continue;
      const std::string bytes((*tokenizer)->TokenBytes(id));
      const bool text_token = !bytes.empty() && !(*tokenizer)->IsSpecial(id);
      ASSERT_EQ(has, text_token && reference.Begins(text + bytes))
          << id << " <" << bytes << "> after <" << text << ">";
      if (has) ids.push_back(id);
    }
    if (ids.empty()) break;
    const TokenId id = ids[random() % ids.size()];
    text += (*tokenizer)->TokenBytes(id);
    ASSERT_TRUE(cursor.Take(id).ok());
  }
}

}  // namespace
}  // namespace memgate
