#include "engine/structured/schema_reader.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "engine/structured/string_formats.h"
#include "engine/text/json_reading.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxSchemas = 4096;
constexpr size_t kMaxPointerBytes = 4096;  // every schema holds its own
constexpr size_t kMaxNames = 2000;
constexpr size_t kMaxChoices = 10'000;
constexpr int64_t kNoLimit = 1'000'000;  // a largest count from here on limits nothing
constexpr int32_t kMaxMultiple = 10'000;

std::string Below(const std::string& pointer, std::string_view key) {
  return Concat(pointer, "/", absl::StrReplaceAll(ToAbsl(key), {{"~", "~0"}, {"/", "~1"}}));
}

// One spelling for all values that are equal: members sorted, numbers as their digits.
std::string CanonicalText(const Json& value) {
  std::string text;
  if (value.is_number()) {
    const absl::StatusOr<Decimal> number = ParseDecimal(value.dump());
    if (!number.ok()) return value.dump();
    return Concat(number->negative ? "-" : "", number->whole, ".", number->fraction);
  }
  if (value.is_array()) {
    for (const Json& element : value) text += CanonicalText(element) + ",";
    return Concat("[", text, "]");
  }
  if (value.is_object()) {
    std::map<std::string, const Json*> members;
    for (const auto& [name, member] : value.items()) members[name] = &member;
    for (const auto& [name, member] : members)
      text += Concat(Json(name).dump(), ":", CanonicalText(*member), ",");
    return Concat("{", text, "}");
  }
  return value.dump();
}

SchemaValue ValueOf(const Json& value) {
  SchemaValue result;
  result.written = value.dump();
  switch (value.type()) {
    case Json::value_t::null:
      result.type = kNullType;
      break;
    case Json::value_t::boolean:
      result.type = kBooleanType;
      break;
    case Json::value_t::string:
      result.type = kStringType;
      result.text = value.get<std::string>();
      break;
    case Json::value_t::array:
      result.type = kArrayType;
      break;
    case Json::value_t::object:
      result.type = kObjectType;
      break;
    default: {
      absl::StatusOr<Decimal> number = ParseDecimal(result.written);
      if (number.ok()) result.number = *std::move(number);
      result.type = result.number && result.number->fraction.empty() ? kIntegerType : kNumberType;
    }
  }
  return result;
}

// A pointer for a message, which must have room for what is said about it.
std::string Shown(std::string_view pointer) {
  constexpr size_t kMostBytes = 256;
  if (pointer.empty()) return "/";
  if (pointer.size() <= kMostBytes) return std::string(pointer);
  return Concat(pointer.substr(0, CompleteUtf8Bytes(pointer.substr(0, kMostBytes))), "...");
}

}  // namespace

absl::Status SchemaError(const std::string& pointer, std::string_view what) {
  return absl::InvalidArgumentError(Concat(Shown(pointer), ": ", what));
}

// Reads schema after schema: those that one names wait until it is done.
class SchemaReader {
 public:
  SchemaReader(Json document, CompileBudget& budget) : document_(std::move(document)), budget_(budget) {}

  absl::StatusOr<SchemaDocument> Read() {
    Enter(document_, "");
    while (!waiting_.empty()) {
      const auto [json, node] = waiting_.back();
      waiting_.pop_back();
      if (absl::Status status = ReadSchema(*json, *node); !status.ok()) return status;
      if (!within_limits_.ok()) return within_limits_;
      if (absl::Status status = budget_.Check(); !status.ok()) {
        return SchemaError(node->pointer, ToStdView(status.message()));
      }
    }
    return std::move(result_);
  }

 private:
  using Handler = absl::Status (SchemaReader::*)(const Json& value, const std::string& pointer,
                                                 SchemaNode& node);

  // The node of a schema, which is read later unless it was already. At a limit any node: nothing is read
  // then.
  SchemaNode::Ref Enter(const Json& json, const std::string& pointer) {
    if (const auto known = entered_.find(&json); known != entered_.end()) return known->second;
    if (result_.size() == kMaxSchemas) {
      within_limits_ = absl::InvalidArgumentError(Concat("more than ", kMaxSchemas, " schemas"));
    } else if (pointer.size() > kMaxPointerBytes) {
      within_limits_ = absl::InvalidArgumentError(
          Concat(Shown(pointer), ": a JSON pointer of more than ", kMaxPointerBytes, " bytes"));
    }
    if (!within_limits_.ok()) return &result_.nodes_.front();
    budget_.Step();
    budget_.Hold(static_cast<int64_t>(sizeof(SchemaNode) + pointer.size()));
    SchemaNode& node = result_.nodes_.emplace_back();
    node.index = result_.size() - 1;
    node.pointer = pointer;
    entered_.emplace(&json, &node);
    waiting_.emplace_back(&json, &node);
    return &node;
  }

  absl::Status ReadSchema(const Json& json, SchemaNode& node) {
    if (json.is_boolean()) {
      node.nothing = !json.get<bool>();
      return absl::OkStatus();
    }
    if (!json.is_object()) return SchemaError(node.pointer, "a schema is an object, true or false");
    for (const auto& [key, value] : json.items()) {
      budget_.Step();
      const std::string pointer = Below(node.pointer, key);
      const auto handler = Handlers().find(key);
      if (handler == Handlers().end()) {
        if (IsAnnotation(key)) continue;
        return SchemaError(pointer, "this keyword cannot be enforced");
      }
      if (!handler->second.combines) node.restricts = true;
      if (absl::Status status = (this->*handler->second.read)(value, pointer, node); !status.ok())
        return status;
    }
    return ReadArrayItems(json, node);
  }

  // They say something about a schema, or hold schemas that others refer to.
  static bool IsAnnotation(std::string_view key) {
    static const auto* const kKeys = new absl::flat_hash_set<std::string>{
        "$schema",   "$id",         "$comment",   "title",           "description",      "default",
        "examples",  "$defs",       "readOnly",   "contentEncoding", "contentMediaType", "contentSchema",
        "writeOnly", "definitions", "deprecated", "discriminator"};
    return kKeys->contains(std::string(key)) || key.starts_with("x-");
  }

  struct Keyword {
    Handler read;
    bool combines = false;  // only combines other schemas
  };
  static const absl::flat_hash_map<std::string, Keyword>& Handlers() {
    static const auto* const kHandlers = new absl::flat_hash_map<std::string, Keyword>{
        {"$ref", {&SchemaReader::ReadReference, true}},
        {"allOf", {&SchemaReader::ReadAllOf, true}},
        {"anyOf", {&SchemaReader::ReadAnyOf, true}},
        {"oneOf", {&SchemaReader::ReadAnyOf, true}},
        {"type", {&SchemaReader::ReadTypes}},
        {"enum", {&SchemaReader::ReadEnum}},
        {"const", {&SchemaReader::ReadConst}},
        {"minLength", {&SchemaReader::ReadMinLength}},
        {"maxLength", {&SchemaReader::ReadMaxLength}},
        {"pattern", {&SchemaReader::ReadPattern}},
        {"format", {&SchemaReader::ReadFormat}},
        {"minimum", {&SchemaReader::ReadMinimum}},
        {"maximum", {&SchemaReader::ReadMaximum}},
        {"exclusiveMinimum", {&SchemaReader::ReadExclusiveMinimum}},
        {"exclusiveMaximum", {&SchemaReader::ReadExclusiveMaximum}},
        {"multipleOf", {&SchemaReader::ReadMultipleOf}},
        {"items", {&SchemaReader::KeepForLater}},
        {"prefixItems", {&SchemaReader::KeepForLater}},
        {"additionalItems", {&SchemaReader::KeepForLater}},
        {"minItems", {&SchemaReader::ReadMinItems}},
        {"maxItems", {&SchemaReader::ReadMaxItems}},
        {"uniqueItems", {&SchemaReader::ReadUniqueItems}},
        {"properties", {&SchemaReader::ReadProperties}},
        {"required", {&SchemaReader::ReadRequired}},
        {"additionalProperties", {&SchemaReader::ReadAdditional}},
        {"minProperties", {&SchemaReader::ReadMinProperties}},
        {"maxProperties", {&SchemaReader::ReadMaxProperties}},
    };
    return *kHandlers;
  }

  absl::Status ReadReference(const Json& value, const std::string& pointer, SchemaNode& node) {
    if (!value.is_string()) return SchemaError(pointer, "not a string");
    const std::string& text = value.get_ref<const std::string&>();
    if (!text.starts_with('#') || (text.size() > 1 && text[1] != '/')) {
      return SchemaError(pointer, "only references within the schema are followed: # and #/...");
    }
    const Json* target = &document_;
    std::string place;
    const std::vector<std::string> keys = absl::StrSplit(text, '/');
    for (size_t i = 1; i < keys.size(); ++i) {
      std::string key;
      if (!DecodePercent(keys[i], key)) return SchemaError(pointer, "not a URI fragment");
      key = absl::StrReplaceAll(key, {{"~1", "/"}, {"~0", "~"}});
      size_t element = 0;
      budget_.Step(static_cast<int64_t>(target->size()));
      if (target->is_object() && target->contains(key)) {
        target = &(*target)[key];
      } else if (target->is_array() && absl::SimpleAtoi(key, &element) && element < target->size()) {
        target = &(*target)[element];
      } else {
        return SchemaError(pointer, Concat("there is no ", Quoted(text)));
      }
      place = Below(place, key);
    }
    node.reference = Enter(*target, place);
    return absl::OkStatus();
  }

  static bool DecodePercent(const std::string& text, std::string& decoded) {
    for (size_t i = 0; i < text.size(); ++i) {
      int byte = 0;
      if (text[i] != '%') {
        decoded += text[i];
      } else if (i + 2 < text.size() && absl::SimpleHexAtoi(text.substr(i + 1, 2), &byte)) {
        decoded += static_cast<char>(byte);
        i += 2;
      } else {
        return false;
      }
    }
    return true;
  }

  absl::StatusOr<std::vector<SchemaNode::Ref>> ReadSchemas(const Json& value, const std::string& pointer) {
    if (!value.is_array()) return SchemaError(pointer, "not an array of schemas");
    std::vector<SchemaNode::Ref> schemas;
    for (size_t i = 0; i < value.size() && within_limits_.ok(); ++i) {
      schemas.push_back(Enter(value[i], Concat(pointer, "/", i)));
    }
    return schemas;
  }

  absl::Status ReadAllOf(const Json& value, const std::string& pointer, SchemaNode& node) {
    auto schemas = ReadSchemas(value, pointer);
    if (!schemas.ok()) return schemas.status();
    node.all_of = *std::move(schemas);
    return absl::OkStatus();
  }

  absl::Status ReadAnyOf(const Json& value, const std::string& pointer, SchemaNode& node) {
    auto schemas = ReadSchemas(value, pointer);
    if (!schemas.ok()) return schemas.status();
    node.any_of.push_back(*std::move(schemas));
    return absl::OkStatus();
  }

  static unsigned TypeNamed(std::string_view name) {
    constexpr std::pair<std::string_view, unsigned> kTypes[] = {
        {"null", kNullType},       {"boolean", kBooleanType},
        {"integer", kIntegerType}, {"number", kNumberType | kIntegerType},
        {"string", kStringType},   {"array", kArrayType},
        {"object", kObjectType}};
    for (const auto& [known, bits] : kTypes) {
      if (known == name) return bits;
    }
    return 0;
  }

  absl::Status ReadTypes(const Json& value, const std::string& pointer, SchemaNode& node) {
    node.types = 0;
    const auto add = [&](const Json& name) {
      const unsigned bits = name.is_string() ? TypeNamed(name.get_ref<const std::string&>()) : 0;
      node.types |= bits;
      return bits != 0;
    };
    bool known = true;
    if (value.is_array()) {
      for (const Json& name : value) known = known && add(name);
    } else {
      known = add(value);
    }
    return known ? absl::OkStatus() : SchemaError(pointer, "not the name of a type, or a list of them");
  }

  // The number of a value, which is that of all equal ones.
  int NumberOf(const Json& value) {
    std::string canonical = CanonicalText(value);
    constexpr size_t kValueBytes = sizeof(SchemaValue) + 128;  // and its place in the table
    budget_.Step(1 + static_cast<int64_t>(canonical.size()));
    const auto [entry, is_new] = value_numbers_.try_emplace(std::move(canonical), 0);
    if (is_new) {
      entry->second = static_cast<int>(result_.values_.size());
      result_.values_.push_back(ValueOf(value));
      budget_.Hold(static_cast<int64_t>(kValueBytes + 3 * entry->first.size()));
    }
    return entry->second;
  }

  void AddChoices(const std::vector<const Json*>& values, SchemaNode& node) {
    std::vector<int> choices;
    for (const Json* value : values) choices.push_back(NumberOf(*value));
    std::sort(choices.begin(), choices.end());
    choices.erase(std::unique(choices.begin(), choices.end()), choices.end());
    budget_.Hold(static_cast<int64_t>(choices.size() * sizeof(int)));
    if (node.choices) {  // enum beside const
      std::vector<int> both;
      std::set_intersection(choices.begin(), choices.end(), node.choices->begin(), node.choices->end(),
                            std::back_inserter(both));
      choices = std::move(both);
    }
    node.choices = std::move(choices);
  }

  absl::Status ReadEnum(const Json& value, const std::string& pointer, SchemaNode& node) {
    if (!value.is_array()) return SchemaError(pointer, "not an array");
    if (value.size() > kMaxChoices) return SchemaError(pointer, Concat("more than ", kMaxChoices, " values"));
    std::vector<const Json*> values;
    for (const Json& choice : value) values.push_back(&choice);
    AddChoices(values, node);
    return absl::OkStatus();
  }

  absl::Status ReadConst(const Json& value, const std::string&, SchemaNode& node) {
    AddChoices({&value}, node);
    return absl::OkStatus();
  }

  // A count as JSON writes it: 2 or 2.0.
  static absl::Status ReadCount(const Json& value, const std::string& pointer, int64_t& count) {
    if (!value.is_number() || value.get<double>() < 0 ||
        value.get<double>() != std::floor(value.get<double>())) {
      return SchemaError(pointer, "not a whole number of at least 0");
    }
    count = static_cast<int64_t>(std::min(value.get<double>(), double{kNoLimit}));
    return absl::OkStatus();
  }
  static absl::Status ReadLeast(const Json& value, const std::string& pointer, int64_t& count) {
    if (absl::Status status = ReadCount(value, pointer, count); !status.ok()) return status;
    if (count < kNoLimit) return absl::OkStatus();
    return SchemaError(pointer, Concat(kNoLimit, " and more cannot be enforced"));
  }
  static absl::Status ReadLargest(const Json& value, const std::string& pointer, int64_t& count) {
    const absl::Status status = ReadCount(value, pointer, count);
    if (count == kNoLimit) count = -1;
    return status;
  }

  absl::Status ReadMinLength(const Json& value, const std::string& pointer, SchemaNode& node) {
    return ReadLeast(value, pointer, node.min_length);
  }
  absl::Status ReadMaxLength(const Json& value, const std::string& pointer, SchemaNode& node) {
    return ReadLargest(value, pointer, node.max_length);
  }

  absl::Status ReadPattern(const Json& value, const std::string& pointer, SchemaNode& node) {
    if (!value.is_string()) return SchemaError(pointer, "not a string");
    node.pattern = value.get<std::string>();
    return absl::OkStatus();
  }

  absl::Status ReadFormat(const Json& value, const std::string& pointer, SchemaNode& node) {
    if (!value.is_string()) return SchemaError(pointer, "not a string");
    const std::string& format = value.get_ref<const std::string&>();
    node.format = PatternOfFormat(format);
    if (!node.format.empty() || ReadNumberFormat(format, node.numbers)) return absl::OkStatus();
    return SchemaError(pointer, "this format cannot be enforced");
  }

  // OpenAPI's. All numbers that are written fit 64 bits or a double.
  static bool ReadNumberFormat(std::string_view format, NumberBounds& numbers) {
    if (format == "int32") {
      numbers.RaiseLower({*ParseDecimal("-2147483648"), false});
      numbers.LowerUpper({*ParseDecimal("2147483647"), false});
    }
    if (format == "int32" || format == "int64") numbers.whole = true;
    return format == "int32" || format == "int64" || format == "float" || format == "double";
  }

  static absl::StatusOr<Decimal> ReadNumber(const Json& value, const std::string& pointer) {
    if (!value.is_number()) return SchemaError(pointer, "not a number");
    absl::StatusOr<Decimal> decimal = ParseDecimal(value.dump());
    if (!decimal.ok()) return SchemaError(pointer, ToStdView(decimal.status().message()));
    return decimal;
  }

  absl::Status ReadBound(const Json& value, const std::string& pointer, bool exclusive, bool lower,
                         SchemaNode& node) {
    absl::StatusOr<Decimal> number = ReadNumber(value, pointer);
    if (!number.ok()) return number.status();
    lower ? node.numbers.RaiseLower({*number, exclusive}) : node.numbers.LowerUpper({*number, exclusive});
    return absl::OkStatus();
  }
  absl::Status ReadMinimum(const Json& value, const std::string& pointer, SchemaNode& node) {
    return ReadBound(value, pointer, /*exclusive=*/false, /*lower=*/true, node);
  }
  absl::Status ReadMaximum(const Json& value, const std::string& pointer, SchemaNode& node) {
    return ReadBound(value, pointer, /*exclusive=*/false, /*lower=*/false, node);
  }
  absl::Status ReadExclusiveMinimum(const Json& value, const std::string& pointer, SchemaNode& node) {
    return ReadBound(value, pointer, /*exclusive=*/true, /*lower=*/true, node);
  }
  absl::Status ReadExclusiveMaximum(const Json& value, const std::string& pointer, SchemaNode& node) {
    return ReadBound(value, pointer, /*exclusive=*/true, /*lower=*/false, node);
  }

  absl::Status ReadMultipleOf(const Json& value, const std::string& pointer, SchemaNode& node) {
    absl::StatusOr<Decimal> number = ReadNumber(value, pointer);
    if (!number.ok()) return number.status();
    int32_t divisor = 0;
    if (number->negative || !number->fraction.empty() || !absl::SimpleAtoi(number->whole, &divisor) ||
        divisor < 1 || divisor > kMaxMultiple) {
      return SchemaError(pointer, Concat("only whole numbers of 1 to ", kMaxMultiple, " can be enforced"));
    }
    node.numbers.whole = true;
    if (divisor > 1) node.numbers.multiple_of = divisor;
    return absl::OkStatus();
  }

  // They mean different things beside each other: ReadArrayItems looks at all of them at once.
  absl::Status KeepForLater(const Json&, const std::string&, SchemaNode& node) {
    node.has_array_keywords = true;
    return absl::OkStatus();
  }

  absl::Status ReadArrayItems(const Json& json, SchemaNode& node) {
    // Before draft 2020-12 a list under `items` was what `prefixItems` is now, `additionalItems` its rest.
    const bool listed = json.contains("items") && json["items"].is_array();
    const char* const prefix = listed ? "items" : "prefixItems";
    const char* const rest = listed ? "additionalItems" : "items";
    if (listed && json.contains("prefixItems")) {
      return SchemaError(Below(node.pointer, "items"), "not a schema, beside prefixItems");
    }
    if (json.contains(prefix)) {
      auto schemas = ReadSchemas(json[prefix], Below(node.pointer, prefix));
      if (!schemas.ok()) return schemas.status();
      node.prefix_items = *std::move(schemas);
    }
    if (json.contains(rest)) node.items = Enter(json[rest], Below(node.pointer, rest));
    return absl::OkStatus();
  }

  absl::Status ReadMinItems(const Json& value, const std::string& pointer, SchemaNode& node) {
    node.has_array_keywords = true;
    return ReadLeast(value, pointer, node.min_items);
  }
  absl::Status ReadMaxItems(const Json& value, const std::string& pointer, SchemaNode& node) {
    node.has_array_keywords = true;
    return ReadLargest(value, pointer, node.max_items);
  }

  absl::Status ReadUniqueItems(const Json& value, const std::string& pointer, SchemaNode&) {
    if (value.is_boolean() && !value.get<bool>()) return absl::OkStatus();
    return SchemaError(pointer, "this keyword cannot be enforced");
  }

  absl::Status ReadProperties(const Json& value, const std::string& pointer, SchemaNode& node) {
    if (!value.is_object()) return SchemaError(pointer, "not an object");
    node.has_object_keywords = true;
    for (const auto& [name, schema] : value.items()) {
      const SchemaNode::Ref ref = Enter(schema, Below(pointer, name));
      node.properties.emplace_back(name, ref);
      node.property_table.emplace(name, ref);
    }
    return absl::OkStatus();
  }

  absl::Status ReadRequired(const Json& value, const std::string& pointer, SchemaNode& node) {
    node.has_object_keywords = true;
    const auto is_string = [](const Json& name) { return name.is_string(); };
    if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_string)) {
      return SchemaError(pointer, "not an array of strings");
    }
    if (value.size() > kMaxNames) return SchemaError(pointer, Concat("more than ", kMaxNames, " names"));
    node.required = value.get<std::vector<std::string>>();
    return absl::OkStatus();
  }

  absl::Status ReadAdditional(const Json& value, const std::string& pointer, SchemaNode& node) {
    node.has_object_keywords = true;
    node.additional = Enter(value, pointer);
    return absl::OkStatus();
  }

  absl::Status ReadMinProperties(const Json& value, const std::string& pointer, SchemaNode& node) {
    node.has_object_keywords = true;
    return ReadLeast(value, pointer, node.min_properties);
  }
  absl::Status ReadMaxProperties(const Json& value, const std::string& pointer, SchemaNode& node) {
    node.has_object_keywords = true;
    return ReadLargest(value, pointer, node.max_properties);
  }

  const Json document_;
  CompileBudget& budget_;
  SchemaDocument result_;
  absl::Status within_limits_;
  absl::flat_hash_map<const Json*, SchemaNode::Ref> entered_;
  std::vector<std::pair<const Json*, SchemaNode*>> waiting_;
  absl::flat_hash_map<std::string, int> value_numbers_;  // by their canonical texts
};

absl::StatusOr<SchemaDocument> SchemaDocument::Read(std::string_view text, CompileBudget& budget) {
  absl::StatusOr<Json> document = ParseOrderedJson(text);
  if (!document.ok()) return document.status();
  return SchemaReader(*std::move(document), budget).Read();
}

}  // namespace memgate
