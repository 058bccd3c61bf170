#include "engine/structured/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/structured/matching.h"
#include "tests/structured/schema_cases.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

Matcher Compile(const std::string& schema) {
  auto grammar = CompileJsonSchema(schema);
  EXPECT_TRUE(grammar.ok()) << schema << "\n" << grammar.status();
  return Matcher(grammar.ok() ? *std::move(grammar) : *CompileJsonSchema("{}"));
}

std::string ErrorOf(const std::string& schema) {
  const auto grammar = CompileJsonSchema(schema);
  EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument) << schema;
  return std::string(grammar.status().message());
}

TEST(JsonSchemaTest, DecidesEveryDocumentOfEveryCase) {
  for (const SchemaCase& c : SchemaCases()) {
    Matcher matcher = Compile(c.schema);
    for (const std::string& text : c.accepted) EXPECT_TRUE(matcher.Matches(text)) << c.name << ": " << text;
    for (const std::string& text : c.invalid) EXPECT_FALSE(matcher.Matches(text)) << c.name << ": " << text;
    for (const std::string& text : c.unwritten) EXPECT_FALSE(matcher.Matches(text)) << c.name << ": " << text;
    EXPECT_FALSE(matcher.automaton().exhausted()) << c.name;
  }
}

// What jsonschema says of the documents of every case: the expectations above are those of the specification.
TEST(JsonSchemaTest, TheCasesAreWhatAnotherValidatorSays) {
  std::vector<SchemaDocuments> schemas;
  for (const SchemaCase& c : SchemaCases()) {
    schemas.push_back({c.schema, c.accepted});
    schemas.back().documents.insert(schemas.back().documents.end(), c.invalid.begin(), c.invalid.end());
  }
  const auto verdicts = ReferenceVerdicts(schemas);
  for (size_t i = 0; i < schemas.size(); ++i) {
    ASSERT_EQ(verdicts[i].size(), schemas[i].documents.size());
    for (size_t d = 0; d < verdicts[i].size(); ++d) {
      const bool accepted = d < SchemaCases()[i].accepted.size();
      EXPECT_EQ(verdicts[i][d], json(accepted)) << SchemaCases()[i].name << ": " << schemas[i].documents[d];
    }
  }
}

TEST(JsonSchemaTest, OnlyJsonIsEverWritten) {
  Matcher matcher = Compile("{}");
  for (const char* text : {"",
                           "{",
                           "[1,]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "01",
                           "1.",
                           ".5",
                           "+1",
                           "--1",
                           "1e",
                           "tru",
                           "'a'",
                           "\"a",
                           "\"\\x\"",
                           "\"\\ud83d\"",
                           "\"\\ude42\"",
                           "\"\\ud83d\\u0041\"",
                           "\"\\u12g4\"",
                           "\"\n\"",
                           "[1 2]",
                           "{\"a\":1,}",
                           "nan",
                           "\"\xC3\"",
                           "\"\xED\xA0\x80\"",
                           "\"\xF5\x80\x80\x80\"",
                           "1 2"}) {
    EXPECT_FALSE(matcher.Matches(text)) << text;
  }
}

TEST(JsonSchemaTest, FreeValuesNestSoDeepThatEveryParserReadsThem) {
  Matcher matcher = Compile("{}");
  const auto nested = [](int depth) { return std::string(depth, '[') + "1" + std::string(depth, ']'); };
  EXPECT_TRUE(matcher.Matches(nested(32)));
  EXPECT_FALSE(matcher.Begins(std::string(33, '[')));
}

TEST(JsonSchemaTest, AnyObject) {
  auto grammar = CompileJsonObject();
  ASSERT_TRUE(grammar.ok());
  Matcher matcher(*std::move(grammar));
  EXPECT_TRUE(matcher.Matches(R"({"a": [1, {"b": null}], "c": "d"})"));
  EXPECT_TRUE(matcher.Matches("{}"));
  for (const char* text : {"[]", "1", "null", "\"{}\"", "{}{}", "{} "})
    EXPECT_FALSE(matcher.Matches(text)) << text;
}

TEST(JsonSchemaTest, WhatCannotBeEnforcedIsRefusedByItsPointer) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"not": {}})", "/not: "},
      {R"({"type": "object", "properties": {"a/b": {"type": "string", "patternProperties": {}}}})",
       "/properties/a~1b/patternProperties: "},
      {R"({"items": {"anyOf": [{}, {"if": true}]}})", "/items/anyOf/1/if: "},
      {R"({"uniqueItems": true})", "/uniqueItems: "},
      {R"({"contains": {}})", "/contains: "},
      {R"({"propertyNames": {}})", "/propertyNames: "},
      {R"({"dependentRequired": {}})", "/dependentRequired: "},
      {R"({"unevaluatedProperties": false})", "/unevaluatedProperties: "},
      {R"({"nullable": true})", "/nullable: "},
      {R"({"$dynamicRef": "#a"})", "/$dynamicRef: "},
      {R"({"$ref": "other.json#/a"})", "/$ref: only references within the schema"},
      {R"({"$ref": "#/$defs/a"})", "/$ref: there is no \"#/$defs/a\""},
      {R"({"format": "idn-email"})", "/format: "},
      {R"j({"pattern": "(?=a)"})j", "/pattern: at byte 2: only groups"},
      {R"({"pattern": "\\bx"})", "/pattern: at byte 1: \\b is not supported"},
      {R"j({"pattern": "a(^b)"})j", "/pattern: "},
      {R"({"multipleOf": 0.01})", "/multipleOf: "},
      {R"({"multipleOf": 0})", "/multipleOf: "},
      {R"({"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]})", "/allOf/1/multipleOf: "},
      {R"({"minProperties": 2})", "/minProperties: "},
      {R"({"properties": {"a": {}, "b": {}}, "maxProperties": 1})", "/maxProperties: "},
      {R"({"enum": [[1]], "items": {"type": "null"}})", "/: arrays and objects in enum"},
  };
  for (const auto& [schema, error] : cases) EXPECT_THAT(ErrorOf(schema), StartsWith(error)) << schema;
}

TEST(JsonSchemaTest, WhatIsNoSchemaIsRefusedByItsPointer) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not valid JSON at byte 1"},
      {"{", "not valid JSON at byte 2"},
      {"[]", "/: a schema is an object, true or false"},
      {"{\"minimum\": 1e999}", "not valid JSON: "},
      {R"({"type": "text"})", "/type: "},
      {R"({"type": 1})", "/type: "},
      {R"({"type": ["string", null]})", "/type: "},
      {R"({"enum": 1})", "/enum: "},
      {R"({"minLength": -1})", "/minLength: "},
      {R"({"maxItems": 1.5})", "/maxItems: "},
      {R"({"minimum": "1"})", "/minimum: "},
      {R"({"exclusiveMinimum": true})", "/exclusiveMinimum: "},
      {R"({"maximum": 1e60})", "/maximum: the number is too large"},
      {R"({"properties": []})", "/properties: "},
      {R"({"properties": {"a": 1}})", "/properties/a: "},
      {R"({"required": ["a", 1]})", "/required: "},
      {R"({"items": 3})", "/items: "},
      {R"({"prefixItems": {}})", "/prefixItems: "},
      {R"({"anyOf": {}})", "/anyOf: "},
      {R"({"pattern": "["})", "/pattern: "},
      {R"({"pattern": 1})", "/pattern: "},
      {R"({"$ref": 1})", "/$ref: "},
  };
  for (const auto& [schema, error] : cases) EXPECT_THAT(ErrorOf(schema), StartsWith(error)) << schema;
}

TEST(JsonSchemaTest, SchemasThatNoDocumentSatisfiesAreRefused) {
  for (const char* schema :
       {"false", R"({"type": []})", R"({"enum": []})", R"({"type": "string", "enum": [1]})",
        R"({"type": "integer", "minimum": 5, "maximum": 4})",
        R"({"allOf": [{"type": "string"}, {"type": "null"}]})",
        R"({"type": "object", "required": ["a"], "additionalProperties": false})",
        R"({"type": "array", "minItems": 1, "items": false})",
        R"({"type": "array", "minItems": 3, "maxItems": 2})", R"({"enum": [1.5], "multipleOf": 1})",
        R"({"type": "string", "minLength": 3, "maxLength": 2})",
        R"({"type": "string", "pattern": "^a$", "minLength": 2})",
        R"({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2})",
        R"({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]})"}) {
    EXPECT_THAT(ErrorOf(schema), HasSubstr("no text matches")) << schema;
  }
}

TEST(JsonSchemaTest, SchemasWithoutNumberAreRefusedBeforeTheyAreHeld) {
  const auto any_of = [](int count) {
    std::string list = "0";
    for (int i = 1; i < count; ++i) list += ",0";
    return R"("anyOf":[)" + list + "]";
  };
  EXPECT_THAT(ErrorOf("{" + any_of(60'000) + "}"), HasSubstr("more than 4096 schemas"));
  const std::string key(100'000, 'k');
  EXPECT_THAT(ErrorOf(R"({"properties":{")" + key + R"(":{)" + any_of(60'000) + "}}}"),
              HasSubstr("a JSON pointer of more than 4096 bytes"));
}

TEST(JsonSchemaTest, ReferencesThatLeadToThemselvesAreRefused) {
  EXPECT_THAT(ErrorOf(R"({"$ref": "#"})"), HasSubstr("refers to itself"));
  EXPECT_THAT(
      ErrorOf(
          R"({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"allOf": [{"$ref": "#"}]}}})"),
      HasSubstr("refers to itself"));
}

TEST(JsonSchemaTest, DefinitionsThatNothingRefersToAreNotRead) {
  EXPECT_TRUE(CompileJsonSchema(R"({"type": "null", "$defs": {"a": {"not": {}}}})").ok());
}

// "a, b, c" of as many as wanted.
template <typename Each>
std::string List(int count, Each each) {
  std::vector<std::string> parts;
  for (int i = 0; i < count; ++i) parts.push_back(each(i));
  return absl::StrJoin(parts, ", ");
}

// Of each documented limit the largest schema within, and the next one.
TEST(JsonSchemaTest, LimitsAreWhereTheyAreSaidToBe) {
  const auto nested = [](int depth) {  // the innermost schema is in `depth` brackets
    std::string schema = "{}";
    for (int i = 1; i < depth; ++i) schema = R"({"items": )" + schema + "}";
    return schema;
  };
  EXPECT_TRUE(Compile(nested(64)).Matches("[]"));
  EXPECT_THAT(ErrorOf(nested(65)), HasSubstr("nested deeper than 64"));

  const auto any_of = [](int count) {  // and the schema that holds them
    return absl::StrCat(R"({"anyOf": [)", List(count - 1, [](int) { return "false"; }), "]}");
  };
  EXPECT_THAT(ErrorOf(any_of(4096)), HasSubstr("no text matches"));
  EXPECT_THAT(ErrorOf(any_of(4097)), HasSubstr("more than 4096 schemas"));

  const auto named = [](size_t length) {
    return R"({"properties": {")" + std::string(length, 'k') + R"(": {"type": "null"}}})";
  };
  const size_t rest = std::string("/properties/").size();
  EXPECT_TRUE(Compile(named(4096 - rest)).Matches("{}"));
  EXPECT_THAT(ErrorOf(named(4097 - rest)), HasSubstr("a JSON pointer of more than 4096 bytes"));

  const auto object = [](int members) {
    return absl::StrCat(R"({"properties": {)",
                        List(members, [](int i) { return absl::StrCat("\"", i, "\": {}"); }), "}}");
  };
  EXPECT_TRUE(Compile(object(2000)).Matches(R"({"0": 1, "7": 2, "1999": 3})"));
  EXPECT_THAT(ErrorOf(object(2001)), HasSubstr("more than 2000 members"));

  const auto choices = [](int count) {
    return absl::StrCat(R"({"enum": [)", List(count, [](int i) { return absl::StrCat(i); }), "]}");
  };
  EXPECT_TRUE(Compile(choices(10'000)).Matches("9999"));
  EXPECT_THAT(ErrorOf(choices(10'001)), HasSubstr("/enum: more than 10000 values"));

  const auto product = [](int factors) {  // 2^factors alternatives
    const auto factor = [](int i) {
      return absl::StrCat(R"({"anyOf": [{"minimum": )", i, R"(}, {"maximum": )", 100 + i, "}]}");
    };
    return absl::StrCat(R"({"type": "integer", "allOf": [)", List(factors, factor), "]}");
  };
  EXPECT_TRUE(Compile(product(10)).Matches("-5"));
  EXPECT_THAT(ErrorOf(product(11)), HasSubstr("more than 1024 combinations of alternatives"));
}

TEST(JsonSchemaTest, LengthsAreEnforcedUpToAMillion) {
  const auto text = [](int64_t length) { return absl::StrCat("\"", std::string(length, 'x'), "\""); };
  for (const auto& [min, max] : std::vector<std::pair<int64_t, int64_t>>{{0, 0},
                                                                         {0, 1},
                                                                         {3, 3},
                                                                         {0, 4095},
                                                                         {0, 4096},
                                                                         {0, 4097},
                                                                         {4096, 4096},
                                                                         {5, 9000},
                                                                         {8191, 12'289}}) {
    Matcher matcher =
        Compile(absl::StrCat(R"({"type": "string", "minLength": )", min, R"(, "maxLength": )", max, "}"));
    for (const int64_t length : {min - 1, min, min + 1, max - 4096, max - 1, max, max + 1}) {
      if (length < 0) continue;
      EXPECT_EQ(matcher.Matches(text(length)), length >= min && length <= max)
          << length << " in " << min << ".." << max;
    }
    EXPECT_FALSE(matcher.automaton().exhausted());
  }
  const auto bytes = [](const std::string& schema) { return CompileJsonSchema(schema)->bytes(); };
  EXPECT_LT(bytes(R"({"type": "string", "minLength": 500000, "maxLength": 999999})"), 600'000);
  EXPECT_EQ(bytes(R"({"type": "string", "maxLength": 1000000})"), bytes(R"({"type": "string"})"))
      << "no limit";
  EXPECT_THAT(ErrorOf(R"({"minLength": 1000000})"),
              HasSubstr("/minLength: 1000000 and more cannot be enforced"));
}

TEST(JsonSchemaTest, PositionsAndWorkAreBounded) {
  EXPECT_THAT(ErrorOf(R"({"type": "array", "maxItems": 900000})"),
              StartsWith("/: takes more than 131072 positions up to here"));
  EXPECT_THAT(ErrorOf(R"({"properties": {"a": {"type": "string", "pattern": "^(a{90000}b{90000}){2}$"}}})"),
              StartsWith("/properties/a: takes more than 32 MiB to compile up to here"));
  EXPECT_THAT(ErrorOf(R"({"type": "string", "pattern": "^.*a.{20}$"})"), HasSubstr("up to here"));

  // Ten long enums meet in each of 1,024 alternatives.
  const std::string enums = List(10, [](int e) {
    return absl::StrCat(R"({"enum": [7, )",
                        List(3000, [e](int i) { return absl::StrCat(10'000 * (e + 1) + i); }), "]}");
  });
  const std::string any = List(10, [](int i) {
    return absl::StrCat(R"({"anyOf": [{"minItems": )", i, R"(}, {"minLength": )", i, "}]}");
  });
  EXPECT_THAT(ErrorOf(absl::StrCat(R"({"allOf": [)", enums, ", ", any, "]}")),
              StartsWith("/allOf/0: takes more than 20000000 steps to compile up to here"));
}

// Many equal values in many places: they are compared by number.
TEST(JsonSchemaTest, EnumsMeetQuickly) {
  const std::string texts = List(10'000, [](int i) { return absl::StrCat("\"", i, "\""); });
  const std::string others = List(10'000, [](int i) { return absl::StrCat("\"", 19'990 - i, "\""); });
  Matcher both = Compile(absl::StrCat(R"({"enum": [)", texts, R"(], "allOf": [{"enum": [)", others, "]}]}"));
  EXPECT_TRUE(both.Matches("\"9999\""));
  EXPECT_FALSE(both.Matches("\"9990\""));
  EXPECT_TRUE(both.Matches("\"9991\""));
}

TEST(JsonSchemaTest, EqualValuesMeetHoweverTheyAreWritten) {
  Matcher matcher = Compile(R"({"enum": [{"a": 1, "b": [2.50]}, 1e2, "x"],
      "allOf": [{"enum": [{"b": [2.5], "a": 1.0}, 100, "y"]}]})");
  EXPECT_TRUE(matcher.Matches(R"({"a":1,"b":[2.5]})"));
  EXPECT_TRUE(matcher.Matches("100.0"));
  EXPECT_FALSE(matcher.Matches("\"x\""));
}

// What is equal is compiled once, so that forms with many such fields are small.
TEST(JsonSchemaTest, EqualFormatsShareTheirPositions) {
  for (const char* format : {"uri", "email", "date-time", "hostname"}) {
    const std::string fields = List(100, [&](int i) {
      return absl::StrCat("\"f", i, R"(": {"type": "string", "description": ")", i, R"(", "format": ")",
                          format, "\"}");
    });
    const auto one = CompileJsonSchema(absl::StrCat(R"({"type": "string", "format": ")", format, "\"}"));
    const auto many = CompileJsonSchema(absl::StrCat(R"({"type": "object", "properties": {)", fields, "}}"));
    ASSERT_TRUE(one.ok() && many.ok()) << format << ": " << many.status();
    EXPECT_LT(many->bytes(), one->bytes() + 100'000) << format;
  }
  Matcher matcher = Compile(R"({"properties": {"a": {"format": "email"}, "b": {"format": "email"}}})");
  EXPECT_TRUE(matcher.Matches(R"({"a": "ann@example.org", "b": "bob@example.org"})"));
  EXPECT_FALSE(matcher.Matches(R"({"a": "ann@example.org", "b": "bob"})"));
}

TEST(JsonSchemaTest, EveryMultipleUpToTenThousandIsEnforced) {
  for (const int divisor : {97, 250, 365, 720, 999, 1000, 1024, 4096, 7919, 8192, 9973, 9999, 10'000}) {
    Matcher matcher = Compile(absl::StrCat(R"({"type": "integer", "multipleOf": )", divisor, "}"));
    for (int64_t k : {0, 1, 2, 77, 999}) {
      EXPECT_TRUE(matcher.Matches(absl::StrCat(-k * divisor))) << k * divisor;
      EXPECT_FALSE(matcher.Matches(absl::StrCat(k * divisor + 1))) << k * divisor + 1;
    }
    EXPECT_FALSE(matcher.automaton().exhausted());
  }
  Matcher bounded = Compile(R"({"type": "integer", "multipleOf": 9973, "minimum": 0, "maximum": 99999999})");
  EXPECT_TRUE(bounded.Matches("99730000"));
  EXPECT_FALSE(bounded.Matches("-9973"));
}

// A long enumeration is a tree of its texts, not as many ways from one place.
TEST(JsonSchemaTest, LongEnumerationsAreDecidedQuickly) {
  Matcher matcher = Compile(
      absl::StrCat(R"({"enum": [)",
                   List(10'000, [](int i) { return absl::StrCat("\"", i * 7919 % 100'003, "\""); }), "]}"));
  EXPECT_TRUE(matcher.Matches("\"7919\""));
  EXPECT_FALSE(matcher.Matches("\"x\""));
  EXPECT_FALSE(matcher.automaton().exhausted());
}

}  // namespace
}  // namespace memgate
