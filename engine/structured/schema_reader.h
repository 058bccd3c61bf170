// JSON schemas as they are written: every keyword read, or refused by name.
#ifndef MEMGATE_ENGINE_STRUCTURED_SCHEMA_READER_H_
#define MEMGATE_ENGINE_STRUCTURED_SCHEMA_READER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/structured/compile_budget.h"
#include "engine/structured/json_numbers.h"

namespace memgate {

// The types of JSON values, as bits. Integers are numbers, too: kNumberType comes with kIntegerType.
enum SchemaType : unsigned {
  kNullType = 1,
  kBooleanType = 2,
  kIntegerType = 4,
  kNumberType = 8,
  kStringType = 16,
  kArrayType = 32,
  kObjectType = 64,
  kAllTypes = 127,
};

// A value that some enum or const lists.
struct SchemaValue {
  unsigned type = 0;              // one bit; whole numbers are integers
  std::string written;            // JSON without white space
  std::string text;               // of a string
  std::optional<Decimal> number;  // of a number within reach of Decimal
};

// One schema. What is absent restricts nothing.
struct SchemaNode {
  using Ref = const SchemaNode*;

  int index = 0;           // in the order of reading: a schema comes before those within it
  std::string pointer;     // JSON pointer of its place, for messages
  bool nothing = false;    // `false`: no value fits
  bool restricts = false;  // whether it has keywords of its own, beside $ref, allOf, anyOf, oneOf

  unsigned types = kAllTypes;
  std::optional<std::vector<int>> choices;  // enum or const: indices of values, ascending

  Ref reference = nullptr;  // $ref
  std::vector<Ref> all_of;
  std::vector<std::vector<Ref>> any_of;  // anyOf, oneOf

  int64_t min_length = 0, max_length = -1;  // characters; max < 0 = any
  std::string pattern, format;              // format: the pattern that stands for it; empty = none

  NumberBounds numbers;

  std::vector<Ref> prefix_items;
  Ref items = nullptr;
  int64_t min_items = 0, max_items = -1;
  bool has_array_keywords = false;

  std::vector<std::pair<std::string, Ref>> properties;  // as written
  absl::flat_hash_map<std::string, Ref> property_table;
  std::vector<std::string> required;
  Ref additional = nullptr;
  int64_t min_properties = 0, max_properties = -1;
  bool has_object_keywords = false;
};

// A schema, those that it refers to, and the values that they list; equal ones are kept once. Limits: 64
// levels of nesting, 4,096 schemas, 2,000 members of an object, 10,000 choices of a schema.
class SchemaDocument {
 public:
  // INVALID_ARGUMENT "POINTER: why" for what is not of the form that the specification (draft 2020-12) gives
  // a keyword, for every keyword that cannot be enforced, and once the budget is spent. Definitions that
  // nothing refers to are not read.
  static absl::StatusOr<SchemaDocument> Read(std::string_view text, CompileBudget& budget);

  const SchemaNode& root() const { return nodes_.front(); }
  const SchemaNode& node(int index) const { return nodes_[index]; }
  int size() const { return static_cast<int>(nodes_.size()); }
  const SchemaValue& value(int index) const { return values_[index]; }

 private:
  friend class SchemaReader;
  std::deque<SchemaNode> nodes_;  // never moved: they point to each other
  std::deque<SchemaValue> values_;
};

// INVALID_ARGUMENT "pointer: what"; the root's pointer is written "/".
absl::Status SchemaError(const std::string& pointer, std::string_view what);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_SCHEMA_READER_H_
