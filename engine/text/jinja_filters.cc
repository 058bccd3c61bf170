// "x | trim" and the other filters of Jinja; those that work on sequences are in jinja_sequence_filters.cc.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "absl/strings/numbers.h"
#include "engine/text/jinja_builtins.h"
#include "engine/text/jinja_filter_table.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate::jinja {
namespace {

Value Trim(Context& context, const Value& value, const CallArgs& args) {
  const Value* characters = args.Find(0, "chars");
  const bool given = characters != nullptr && characters->is(Kind::kString);
  const std::string text = ToString(value);
  return context.NewString(std::string(Strip(text, Side::kBoth, given ? &characters->string() : nullptr)));
}

Value Default(Context&, const Value& value, const CallArgs& args) {
  const Value* fallback = args.Find(0, "default_value");
  const Value* boolean = args.Find(1, "boolean");
  const bool by_truth = boolean != nullptr && IsTrue(*boolean);
  const bool keep = by_truth ? IsTrue(value) : !value.is(Kind::kUndefined);
  if (keep) return value;
  return fallback == nullptr ? Value::String("") : *fallback;
}

Value Json(Context& context, const Value& value, const CallArgs& args) {
  JsonStyle style;
  if (const Value* ascii = args.Find(0, "ensure_ascii")) style.ensure_ascii = IsTrue(*ascii);
  if (const Value* indent = args.Find(1, "indent"); indent != nullptr && !indent->is(Kind::kNone)) {
    const std::optional<int64_t> width = indent->AsInt();
    if (!width.has_value() || *width > 8) return context.Fail("tojson: indent must be an integer up to 8");
    style.indent = static_cast<int>(std::max<int64_t>(*width, 0));
    style.item_separator.assign(1, ',');
  }
  if (const Value* separators = args.Find(2, "separators");
      separators != nullptr && !separators->is(Kind::kNone)) {
    const bool pair = separators->is(Kind::kList) && separators->list().size() == 2;
    if (!pair) return context.Fail("tojson: separators must be two strings");
    style.item_separator = ToString(separators->list()[0]);
    style.key_separator = ToString(separators->list()[1]);
  }
  if (const Value* sort = args.Find(3, "sort_keys")) style.sort_keys = IsTrue(*sort);
  std::optional<std::string> text = ToJson(value, style);
  if (!text.has_value())
    return context.Fail(Concat("tojson: ", TypeName(value), " or a part of it has no JSON form"));
  return context.NewString(*std::move(text));
}

Value Replace(Context& context, const Value& value, const CallArgs& args) {
  const Value* from = args.Find(0, "old");
  const Value* to = args.Find(1, "new");
  if (from == nullptr || to == nullptr) return context.Fail("replace needs two arguments");
  const Value* count = args.Find(2, "count");
  const int64_t times = count == nullptr ? -1 : count->AsInt().value_or(-1);
  const std::string text = ToString(value);
  // An upper bound of the result, before it is made.
  if (!context.Charge((text.size() + 1) * (ToString(*to).size() + 1))) return Value();
  return context.NewString(ReplaceText(text, ToString(*from), ToString(*to), times));
}

Value ToInt(Context&, const Value& value, const CallArgs& args) {
  const Value* fallback = args.Find(0, "default");
  const Value otherwise = fallback == nullptr ? Value::Int(0) : *fallback;
  if (value.AsInt().has_value()) return Value::Int(*value.AsInt());
  double number = 0;
  if (value.is(Kind::kFloat)) {
    number = value.AsDouble();
  } else if (value.is(Kind::kString)) {
    const std::string text(Strip(value.string(), Side::kBoth, nullptr));
    int64_t integer = 0;
    if (absl::SimpleAtoi(text, &integer)) return Value::Int(integer);
    if (!absl::SimpleAtod(text, &number)) return otherwise;
  } else {
    return otherwise;
  }
  if (!(std::abs(number) < 9e18)) return otherwise;
  return Value::Int(static_cast<int64_t>(number));
}

Value ToFloat(Context&, const Value& value, const CallArgs& args) {
  const Value* fallback = args.Find(0, "default");
  if (value.is_number()) return Value::Float(value.AsDouble());
  double number = 0;
  if (value.is(Kind::kString) && absl::SimpleAtod(value.string(), &number)) return Value::Float(number);
  return fallback == nullptr ? Value::Float(0) : *fallback;
}

Value Abs(Context& context, const Value& value, const CallArgs&) {
  if (value.is(Kind::kFloat)) return Value::Float(std::abs(value.AsDouble()));
  if (!value.AsInt().has_value()) return context.Fail(Concat("abs does not apply to ", TypeName(value)));
  return *value.AsInt() < 0 ? Arithmetic(context, "-", Value::Int(0), value) : Value::Int(*value.AsInt());
}

Value Round(Context& context, const Value& value, const CallArgs& args) {
  const Value* precision = args.Find(0, "precision");
  const Value* method = args.Find(1, "method");
  const int64_t digits = precision == nullptr ? 0 : precision->AsInt().value_or(0);
  if (!value.is_number() || std::abs(digits) > 15)
    return context.Fail("round: not a number or too many digits");
  const std::string how = method == nullptr ? "common" : ToString(*method);
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value.AsDouble() * scale;
  if (how == "ceil") return Value::Float(std::ceil(scaled) / scale);
  if (how == "floor") return Value::Float(std::floor(scaled) / scale);
  return Value::Float(std::nearbyint(scaled) / scale);
}

Value Title(Context& context, const Value& value, const CallArgs&) {
  // Words start after white space or one of these.
  constexpr std::string_view kSeparators = "-([{<";
  const std::string text = ToString(value);
  std::string out;
  bool starts_word = true;
  for (const std::string_view c : Characters(text)) {
    out += starts_word ? UpperCase(c) : LowerCase(c);
    starts_word = IsUnicodeSpace(ReadUtf8(c).code_point) || kSeparators.find(c) != std::string_view::npos;
  }
  return context.NewString(std::move(out));
}

Value Indent(Context& context, const Value& value, const CallArgs& args) {
  const Value* width = args.Find(0, "width");
  const Value* first = args.Find(1, "first");
  const Value* blank = args.Find(2, "blank");
  std::string margin = "    ";
  if (width != nullptr && width->is(Kind::kString)) {
    margin = width->string();
  } else if (width != nullptr) {
    margin.assign(std::clamp<int64_t>(width->AsInt().value_or(4), 0, 64), ' ');
  }
  const bool indents_first = first != nullptr && IsTrue(*first);
  const bool indents_blank = blank != nullptr && IsTrue(*blank);
  const std::string text = ToString(value);
  std::string out;
  size_t start = 0;
  for (bool more = true; more;) {
    const size_t end = text.find('\n', start);
    more = end != std::string::npos;
    const std::string_view line = std::string_view(text).substr(start, more ? end - start : end);
    if (start == 0 ? indents_first : indents_blank || !line.empty()) {
      if (!context.Charge(margin.size())) return Value();
      out += margin;
    }
    out += line;
    if (more) out += '\n';
    start = end + 1;
  }
  return context.NewString(std::move(out));
}

template <std::string (*kConvert)(std::string_view)>
Value Converted(Context& context, const Value& value, const CallArgs&) {
  return context.NewString(kConvert(ToString(value)));
}

const std::map<std::string_view, FilterFunction>& TextFilters() {
  static const auto* const kFilters = new std::map<std::string_view, FilterFunction>{
      {"abs", Abs},
      {"capitalize", Converted<Capitalized>},
      {"d", Default},
      {"default", Default},
      {"float", ToFloat},
      {"indent", Indent},
      {"int", ToInt},
      {"lower", Converted<LowerCase>},
      {"replace", Replace},
      {"round", Round},
      {"safe", [](Context&, const Value& value, const CallArgs&) { return value; }},
      {"string", [](Context& context, const Value& value,
                    const CallArgs&) { return context.NewString(ToString(value)); }},
      {"title", Title},
      {"tojson", Json},
      {"trim", Trim},
      {"upper", Converted<UpperCase>},
  };
  return *kFilters;
}

FilterFunction FindFilter(std::string_view name) {
  for (const auto* table : {&TextFilters(), &SequenceFilters()}) {
    const auto found = table->find(name);
    if (found != table->end()) return found->second;
  }
  return nullptr;
}

}  // namespace

const Value* CallArgs::Find(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  return FindKey(named, name);
}

bool IsFilter(std::string_view name) { return FindFilter(name) != nullptr; }

Value ApplyFilter(Context& context, std::string_view name, const Value& value, const CallArgs& args) {
  return context.Read(value) ? FindFilter(name)(context, value, args) : Value();
}

}  // namespace memgate::jinja
