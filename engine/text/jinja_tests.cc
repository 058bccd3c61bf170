// "x is defined" and the other tests of Jinja.
#include <map>

#include "engine/text/jinja_builtins.h"
#include "engine/text/strings.h"

namespace memgate::jinja {
namespace {

using TestFunction = bool (*)(Context&, const Value&, const CallArgs&);

template <Kind kKind>
bool IsKind(Context&, const Value& value, const CallArgs&) {
  return value.is(kKind);
}

bool IsIterable(Context&, const Value& value, const CallArgs&) {
  return value.is(Kind::kUndefined) || value.is(Kind::kString) || value.is(Kind::kList) ||
         value.is(Kind::kDict);
}

bool IsNumber(Context&, const Value& value, const CallArgs&) { return value.is_number(); }

bool IsSameAs(Context&, const Value& value, const CallArgs& args) {
  const Value* other = args.Find(0, "other");
  return other != nullptr && value.kind() == other->kind() && Equal(value, *other);
}

std::optional<int64_t> Remainder(Context& context, const Value& value, int64_t divisor) {
  const Value result = Arithmetic(context, "%", value, Value::Int(divisor));
  return result.AsInt();
}

// A comparison named `op` with the one argument.
bool Compares(Context& context, const Value& value, const CallArgs& args, std::string_view op) {
  if (args.positional.size() != 1) {
    context.Fail("a comparison test needs one argument");
    return false;
  }
  return Holds(context, op, value, args.positional[0]);
}

const std::map<std::string_view, TestFunction>& Tests() {
  static const auto* const kTests = new std::map<std::string_view, TestFunction>{
      {"defined", [](Context&, const Value& v, const CallArgs&) { return !v.is(Kind::kUndefined); }},
      {"undefined", IsKind<Kind::kUndefined>},
      {"none", IsKind<Kind::kNone>},
      {"string", IsKind<Kind::kString>},
      {"integer", IsKind<Kind::kInt>},
      {"float", IsKind<Kind::kFloat>},
      {"boolean", IsKind<Kind::kBool>},
      {"mapping", IsKind<Kind::kDict>},
      {"callable", IsKind<Kind::kCallable>},
      {"number", IsNumber},
      {"iterable", IsIterable},
      {"sequence", IsIterable},
      {"true", [](Context&, const Value& v, const CallArgs&) { return v.is(Kind::kBool) && IsTrue(v); }},
      {"false", [](Context&, const Value& v, const CallArgs&) { return v.is(Kind::kBool) && !IsTrue(v); }},
      {"even", [](Context& c, const Value& v, const CallArgs&) { return Remainder(c, v, 2) == 0; }},
      {"odd", [](Context& c, const Value& v, const CallArgs&) { return Remainder(c, v, 2) == 1; }},
      {"divisibleby",
       [](Context& c, const Value& v, const CallArgs& args) {
         const Value* divisor = args.Find(0, "num");
         return Remainder(c, v, divisor == nullptr ? 0 : divisor->AsInt().value_or(0)) == 0;
       }},
      {"lower",
       [](Context&, const Value& v, const CallArgs&) { return LowerCase(ToString(v)) == ToString(v); }},
      {"upper",
       [](Context&, const Value& v, const CallArgs&) { return UpperCase(ToString(v)) == ToString(v); }},
      {"sameas", IsSameAs},
      {"in", [](Context& c, const Value& v, const CallArgs& args) { return Compares(c, v, args, "in"); }},
      {"eq", [](Context& c, const Value& v, const CallArgs& args) { return Compares(c, v, args, "=="); }},
      {"ne", [](Context& c, const Value& v, const CallArgs& args) { return Compares(c, v, args, "!="); }},
      {"lt", [](Context& c, const Value& v, const CallArgs& args) { return Compares(c, v, args, "<"); }},
      {"le", [](Context& c, const Value& v, const CallArgs& args) { return Compares(c, v, args, "<="); }},
      {"gt", [](Context& c, const Value& v, const CallArgs& args) { return Compares(c, v, args, ">"); }},
      {"ge", [](Context& c, const Value& v, const CallArgs& args) { return Compares(c, v, args, ">="); }},
      {"filter",
       [](Context&, const Value& v, const CallArgs&) { return v.is(Kind::kString) && IsFilter(v.string()); }},
      {"test",
       [](Context&, const Value& v, const CallArgs&) { return v.is(Kind::kString) && IsTest(v.string()); }},
  };
  return *kTests;
}

// Other names of the comparisons.
std::string_view Canonical(std::string_view name) {
  static const auto* const kAliases = new std::map<std::string_view, std::string_view>{
      {"equalto", "eq"},     {"==", "eq"}, {"!=", "ne"}, {"lessthan", "lt"}, {"<", "lt"},
      {"greaterthan", "gt"}, {">", "gt"},  {"<=", "le"}, {">=", "ge"}};
  const auto alias = kAliases->find(name);
  return alias == kAliases->end() ? name : alias->second;
}

}  // namespace

bool IsTest(std::string_view name) { return Tests().contains(Canonical(name)); }

bool ApplyTest(Context& context, std::string_view name, const Value& value, const CallArgs& args) {
  return Tests().at(Canonical(name))(context, value, args);
}

}  // namespace memgate::jinja
