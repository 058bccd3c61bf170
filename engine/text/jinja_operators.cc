// Arithmetic, comparison, indexing and iteration as in Python.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/text/jinja_builtins.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate::jinja {
namespace {

Value IntegerArithmetic(Context& context, std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    if (b < 0) return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
    result = 1;
    for (int64_t i = 0; i < b && !overflow; ++i) {
      if (result == 0 || (result == 1 && a == 1) || !context.Step()) break;
      overflow = __builtin_mul_overflow(result, a, &result);
    }
  } else {
    if (b == 0) return context.Fail("division by zero");
    if (op == "/") return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    if (a == std::numeric_limits<int64_t>::min() && b == -1) {
      overflow = op == "//";
    } else {
      // Python rounds towards minus infinity; the remainder has the sign of the divisor.
      const bool adjust = a % b != 0 && (a < 0) != (b < 0);
      result = op == "//" ? a / b - adjust : a % b + (adjust ? b : 0);
    }
  }
  if (overflow) return context.Fail("integer out of range");
  return Value::Int(result);
}

Value FloatArithmetic(Context& context, std::string_view op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") return Value::Float(std::pow(a, b));
  if (b == 0) return context.Fail("division by zero");
  if (op == "/") return Value::Float(a / b);
  if (op == "//") return Value::Float(std::floor(a / b));
  const double remainder = std::fmod(a, b);
  return Value::Float(remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder);
}

Value Repeat(Context& context, const Value& sequence, int64_t times) {
  times = std::max<int64_t>(times, 0);
  const size_t size = sequence.is(Kind::kString) ? sequence.string().size() : sequence.list().size();
  constexpr int64_t kMaxRepeated = 1 << 24;  // more than any budget, and far from overflow
  if (size > 0 && times > kMaxRepeated / static_cast<int64_t>(size)) {
    return context.FailLimit("a repeated sequence is too long");
  }
  if (size == 0) times = 0;
  if (sequence.is(Kind::kString)) {
    std::string out;
    for (int64_t i = 0; i < times; ++i) out += sequence.string();
    return context.NewString(std::move(out));
  }
  if (!context.Charge(times * size * sizeof(Value))) return Value();
  List out;
  for (int64_t i = 0; i < times; ++i) out.insert(out.end(), sequence.list().begin(), sequence.list().end());
  return context.NewList(std::move(out));
}

std::string UndefinedMessage(const Value& value) {
  const std::string& name = value.undefined_name();
  return name.empty() ? "a value is undefined" : Concat("'", name, "' is undefined");
}

}  // namespace

Value Arithmetic(Context& context, std::string_view op, const Value& a, const Value& b) {
  for (const Value* operand : {&a, &b}) {
    if (operand->is(Kind::kUndefined)) return context.Fail(UndefinedMessage(*operand));
  }
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) {
      return FloatArithmetic(context, op, a.AsDouble(), b.AsDouble());
    }
    return IntegerArithmetic(context, op, *a.AsInt(), *b.AsInt());
  }
  if (op == "+" && a.is(Kind::kString) && b.is(Kind::kString)) {
    return context.NewString(a.string() + b.string());
  }
  if (op == "+" && a.is(Kind::kList) && b.is(Kind::kList)) {
    List items = a.list();
    items.insert(items.end(), b.list().begin(), b.list().end());
    return context.NewList(std::move(items));
  }
  if (op == "*") {
    const auto is_sequence = [](const Value& v) { return v.is(Kind::kString) || v.is(Kind::kList); };
    if (is_sequence(a) && b.AsInt().has_value()) return Repeat(context, a, *b.AsInt());
    if (is_sequence(b) && a.AsInt().has_value()) return Repeat(context, b, *a.AsInt());
  }
  return context.Fail(Concat("\"", op, "\" does not apply to ", TypeName(a), " and ", TypeName(b)));
}

bool Holds(Context& context, std::string_view op, const Value& a, const Value& b) {
  if (!context.Read(a) || !context.Read(b)) return false;
  if (op == "==") return Equal(a, b);
  if (op == "!=") return !Equal(a, b);
  if (op == "in") return Contains(context, b, a);
  if (op == "not in") return !Contains(context, b, a);
  for (const Value* operand : {&a, &b}) {
    if (!operand->is(Kind::kUndefined)) continue;
    context.Fail(UndefinedMessage(*operand));
    return false;
  }
  const std::optional<int> order = Compare(a, b);
  if (!order.has_value()) {
    context.Fail(Concat("\"", op, "\" does not apply to ", TypeName(a), " and ", TypeName(b)));
    return false;
  }
  if (op == "<") return *order < 0;
  if (op == "<=") return *order <= 0;
  if (op == ">") return *order > 0;
  return *order >= 0;
}

bool Contains(Context& context, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      if (!item.is(Kind::kString)) {
        context.Fail(Concat("only a string can be in a string, not ", TypeName(item)));
        return false;
      }
      return container.string().find(item.string()) != std::string::npos;
    case Kind::kList:
      if (!context.Step(static_cast<int64_t>(container.list().size()))) return false;
      return std::any_of(container.list().begin(), container.list().end(),
                         [&](const Value& value) { return Equal(value, item); });
    case Kind::kDict:
      return item.is(Kind::kString) && FindKey(container.dict(), item.string()) != nullptr;
    default:
      context.Fail(Concat("nothing can be in ", TypeName(container)));
      return false;
  }
}

std::optional<int64_t> Length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return std::count_if(value.string().begin(), value.string().end(),
                           [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
    case Kind::kList:
      return static_cast<int64_t>(value.list().size());
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().size());
    case Kind::kLoop:
      return static_cast<int64_t>(value.loop().items.list().size());
    default:
      return std::nullopt;
  }
}

List Iterate(Context& context, const Value& value) {
  List items;
  if (!context.Step(Length(value).value_or(0))) return items;
  switch (value.kind()) {
    case Kind::kUndefined:
      break;
    case Kind::kList:
      return value.list();
    case Kind::kDict:
      for (const auto& [key, item] : value.dict()) items.push_back(Value::String(key));
      break;
    case Kind::kString:
      if (!context.Charge(value.string().size() * 2 * sizeof(Value))) break;
      for (const std::string_view c : Characters(value.string()))
        items.push_back(Value::String(std::string(c)));
      break;
    default:
      context.Fail(Concat("cannot iterate over ", TypeName(value)));
  }
  return items;
}

Value Subscript(Context& context, const Value& value, const Value& key) {
  if (value.is(Kind::kUndefined)) return context.Fail(UndefinedMessage(value));
  if (key.is(Kind::kString)) {
    if (value.is(Kind::kDict)) {
      const Value* found = FindKey(value.dict(), key.string());
      if (found != nullptr) return *found;
    }
    return Attribute(context, value, key.string());
  }
  const std::optional<int64_t> index = key.AsInt();
  const bool is_sequence = value.is(Kind::kString) || value.is(Kind::kList);
  if (!index.has_value() || !is_sequence) return Value::UndefinedNamed(ToString(key));
  const int64_t length = *Length(value);
  const int64_t at = *index < 0 ? *index + length : *index;
  if (at < 0 || at >= length) return Value::UndefinedNamed(Concat("element ", *index));
  if (value.is(Kind::kList)) return value.list()[at];
  if (!context.Charge(value.string().size())) return Value();
  return context.NewString(std::string(Characters(value.string())[at]));
}

Value Slice(Context& context, const Value& value, const Value& start, const Value& stop, const Value& step) {
  if (value.is(Kind::kUndefined)) return context.Fail(UndefinedMessage(value));
  if (!value.is(Kind::kString) && !value.is(Kind::kList)) {
    return context.Fail(Concat("cannot take a slice of ", TypeName(value)));
  }
  for (const Value* bound : {&start, &stop, &step}) {
    if (!bound->is(Kind::kNone) && !bound->AsInt().has_value())
      return context.Fail("slice bounds must be integers");
  }
  const int64_t length = *Length(value);
  // A step past the whole length is as good as any larger one.
  const int64_t by = std::clamp(step.AsInt().value_or(1), -length - 1, length + 1);
  if (by == 0) return context.Fail("a slice cannot step by zero");
  // Python's rules: negative bounds count from the end, and all are clamped to the sequence.
  const int64_t low = by > 0 ? 0 : -1;
  const int64_t high = by > 0 ? length : length - 1;
  const auto bound = [&](const Value& given, int64_t fallback) {
    if (given.is(Kind::kNone)) return fallback;
    int64_t at = *given.AsInt();
    if (at < 0) at = at < -length ? -1 - length : at + length;
    return std::clamp(at, low, high);
  };
  const int64_t first = bound(start, by > 0 ? low : high);
  const int64_t last = bound(stop, by > 0 ? high : low);
  std::vector<int64_t> indices;
  for (int64_t at = first; by > 0 ? at < last : at > last; at += by) {
    indices.push_back(at);
    if (!context.Step()) return Value();
  }
  if (value.is(Kind::kList)) {
    List items;
    for (const int64_t at : indices) items.push_back(value.list()[at]);
    return context.NewList(std::move(items));
  }
  if (!context.Charge(value.string().size())) return Value();
  const std::vector<std::string_view> characters = Characters(value.string());
  std::string text;
  for (const int64_t at : indices) text += characters[at];
  return context.NewString(std::move(text));
}

}  // namespace memgate::jinja
