// The values that a chat template computes with; they behave as Python's do under Jinja.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_VALUE_H_
#define MEMGATE_ENGINE_TEXT_JINJA_VALUE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace memgate::jinja {

class Value;
struct MacroNode;

using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;  // insertion order; keys are distinct

struct Undefined {
  std::string name;  // what was looked up, for error messages
};
struct None {};
struct ListNode;
struct DictNode;
struct LoopState;
// A function of the template's environment, a method bound to `self`, or a macro.
struct Callable;
// The only mutable value; the evaluator owns it, so that one which holds itself does not leak.
struct Namespace;

enum class Kind {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kDict,
  kNamespace,
  kLoop,
  kCallable
};

// Cheap to copy. Immutable.
class Value {
 public:
  Value() = default;  // undefined
  static Value UndefinedNamed(std::string_view name) { return Value(Data(Undefined{std::string(name)})); }
  static Value NoneValue() { return Value(Data(None{})); }
  static Value Bool(bool value) { return Value(Data(value)); }
  static Value Int(int64_t value) { return Value(Data(value)); }
  static Value Float(double value) { return Value(Data(value)); }
  static Value String(std::string value) {
    return Value(Data(std::make_shared<const std::string>(std::move(value))));
  }
  static Value FromList(List items);
  static Value FromDict(Dict items);
  static Value FromNamespace(Namespace* space) { return Value(Data(space)); }
  static Value FromLoop(LoopState loop);
  static Value FromCallable(Callable callable);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_number() const { return is(Kind::kBool) || is(Kind::kInt) || is(Kind::kFloat); }

  // REQUIRES: the kind that the name says.
  const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }
  const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const List& list() const;
  const Dict& dict() const;
  Namespace& space() const { return *std::get<Namespace*>(data_); }
  const LoopState& loop() const { return *std::get<std::shared_ptr<const LoopState>>(data_); }
  const Callable& callable() const { return *std::get<std::shared_ptr<const Callable>>(data_); }

  // Python's int(x) for a bool or int; nothing for other kinds.
  std::optional<int64_t> AsInt() const;
  // REQUIRES: is_number().
  double AsDouble() const;

  // How deeply lists and dicts are nested: 0 for a scalar.
  int depth() const;
  // Bytes of all strings below, each counted as often as it appears, plus a constant per element: what
  // printing or comparing the value costs.
  size_t weight() const;

 private:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                            std::shared_ptr<const ListNode>, std::shared_ptr<const DictNode>, Namespace*,
                            std::shared_ptr<const LoopState>, std::shared_ptr<const Callable>>;
  explicit Value(Data data) : data_(std::move(data)) {}

  Data data_;
};

struct ListNode {
  List items;
  int depth = 1;
  size_t weight = 0;
};
struct DictNode {
  Dict items;
  int depth = 1;
  size_t weight = 0;
};
struct Namespace {
  Dict attributes;
};
struct LoopState {
  Value items;  // a list
  int64_t index0 = 0;
};
struct Callable {
  std::string name;
  std::optional<Value> self;
  const MacroNode* macro = nullptr;
};

// Python's type name, for error messages.
std::string_view TypeName(const Value& value);

// The entry, or null.
const Value* FindKey(const Dict& dict, std::string_view key);

bool IsTrue(const Value& value);
bool Equal(const Value& a, const Value& b);
// Negative, zero or positive; nothing if Python refuses to order the two.
std::optional<int> Compare(const Value& a, const Value& b);

// str(value) and repr(value).
std::string ToString(const Value& value);
std::string Repr(const Value& value);

struct JsonStyle {
  int indent = -1;  // negative: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};
// json.dumps(value); nothing if a part of it has no JSON form.
std::optional<std::string> ToJson(const Value& value, const JsonStyle& style);

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_VALUE_H_
