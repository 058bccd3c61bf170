#include "engine/structured/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

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
  json input = json::array();
  for (const SchemaCase& c : SchemaCases()) {
    json documents = json::array();
    for (const std::string& text : c.accepted) documents.push_back(text);
    for (const std::string& text : c.invalid) documents.push_back(text);
    input.push_back({{"schema", c.schema}, {"documents", documents}});
  }
  const std::string folder = std::filesystem::temp_directory_path();
  const std::string in = folder + "/memgate_schemas_in" + std::to_string(getpid());
  const std::string out = folder + "/memgate_schemas_out" + std::to_string(getpid());
  std::ofstream(in) << input.dump();
  const std::string command =
      std::string(MEMGATE_PYTHON " " MEMGATE_SOURCE_DIR "/tests/structured/schema_reference.py < ") + in +
      " > " + out;
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  std::ifstream file(out);
  const json verdicts = json::parse(file);
  std::filesystem::remove(in);
  std::filesystem::remove(out);
  for (size_t i = 0; i < SchemaCases().size(); ++i) {
    const SchemaCase& c = SchemaCases()[i];
    for (size_t d = 0; d < verdicts[i].size(); ++d) {
      const bool accepted = d < c.accepted.size();
      EXPECT_EQ(verdicts[i][d], json(accepted))
          << c.name << ": " << (accepted ? c.accepted[d] : c.invalid[d - c.accepted.size()]);
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

TEST(JsonSchemaTest, WorkIsBounded) {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  EXPECT_THAT(ErrorOf(deep), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(ErrorOf(R"({"type": "string", "maxLength": 900000})"), HasSubstr("131072 positions"));
  EXPECT_THAT(ErrorOf(R"({"type": "string", "pattern": "^(a{90000}b{90000}){2}$"})"),
              HasSubstr("16384 states"));
  EXPECT_THAT(ErrorOf(R"({"type": "string", "pattern": "^.*a.{20}$"})"), HasSubstr("16384 states"));

  std::string product = R"({"allOf": [)";
  for (int i = 0; i < 12; ++i) {
    product += std::string(i > 0 ? "," : "") + R"({"anyOf": [{"minLength": )" + std::to_string(i) +
               R"(}, {"minItems": )" + std::to_string(i) + "}]}";
  }
  EXPECT_THAT(ErrorOf(product + "]}"), HasSubstr("combinations of alternatives"));

  std::string wide = R"({"properties": {)";
  for (int i = 0; i < 2001; ++i) wide += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\": {}";
  EXPECT_THAT(ErrorOf(wide + "}}"), HasSubstr("more than 2000 members"));
}

// A long enumeration is a tree of its texts, not as many ways from one place.
TEST(JsonSchemaTest, LongEnumerationsAreDecidedQuickly) {
  std::string schema = R"({"enum": [)";
  for (int i = 0; i < 10000; ++i) schema += (i > 0 ? ",\"" : "\"") + std::to_string(i * 7919 % 100003) + "\"";
  Matcher matcher = Compile(schema + "]}");
  EXPECT_TRUE(matcher.Matches("\"7919\""));
  EXPECT_FALSE(matcher.Matches("\"x\""));
  EXPECT_FALSE(matcher.automaton().exhausted());
}

}  // namespace
}  // namespace memgate
