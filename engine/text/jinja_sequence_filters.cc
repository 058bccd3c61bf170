// Filters that take or make lists.
#include <algorithm>
#include <charconv>

#include "engine/text/jinja_filter_table.h"
#include "engine/text/strings.h"

namespace memgate::jinja {
namespace {

// value.a.b for "a.b"; digits index a list.
Value AttributePath(Context& context, Value value, const Value& path) {
  if (!path.is(Kind::kString)) return Subscript(context, value, path);
  std::string_view rest = path.string();
  while (!context.failed()) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && error == std::errc() && end == part.data() + part.size();
    value = Subscript(context, value, is_index ? Value::Int(index) : Value::String(std::string(part)));
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  return value;
}

Value LengthOf(Context& context, const Value& value, const CallArgs&) {
  const std::optional<int64_t> length = Length(value);
  return length.has_value() ? Value::Int(*length) : context.Fail(Concat(TypeName(value), " has no length"));
}

Value First(Context& context, const Value& value, const CallArgs&) {
  const List items = Iterate(context, value);
  return items.empty() ? Value::UndefinedNamed("first element") : items.front();
}

Value Last(Context& context, const Value& value, const CallArgs&) {
  const List items = Iterate(context, value);
  return items.empty() ? Value::UndefinedNamed("last element") : items.back();
}

Value Join(Context& context, const Value& value, const CallArgs& args) {
  const Value* separator = args.Find(0, "d");
  const Value* attribute = args.Find(1, "attribute");
  const std::string between = separator == nullptr ? "" : ToString(*separator);
  std::string text;
  bool first = true;
  for (const Value& item : Iterate(context, value)) {
    const std::string part = ToString(attribute == nullptr ? item : AttributePath(context, item, *attribute));
    if (!context.Charge(part.size() + between.size())) return Value();
    if (!first) text += between;
    first = false;
    text += part;
  }
  return Value::String(std::move(text));
}

Value ToList(Context& context, const Value& value, const CallArgs&) {
  return context.NewList(Iterate(context, value));
}

Value Items(Context& context, const Value& value, const CallArgs&) {
  List pairs;
  if (value.is(Kind::kUndefined)) return context.NewList({});
  if (!value.is(Kind::kDict)) return context.Fail(Concat("items does not apply to ", TypeName(value)));
  for (const auto& [key, item] : value.dict()) pairs.push_back(context.NewList({Value::String(key), item}));
  return context.NewList(std::move(pairs));
}

Value Reverse(Context& context, const Value& value, const CallArgs&) {
  List items = Iterate(context, value);
  std::reverse(items.begin(), items.end());
  if (!value.is(Kind::kString)) return context.NewList(std::move(items));
  std::string text;
  for (const Value& item : items) text += item.string();
  return context.NewString(std::move(text));
}

// What map and the filters that select go through: nothing where `value` is not true, be it a list or not.
List IterateIfTrue(Context& context, const Value& value) {
  return IsTrue(value) ? Iterate(context, value) : List();
}

// map("upper"), map("default", "x"), map(attribute="role").
Value Map(Context& context, const Value& value, const CallArgs& args) {
  const Value* attribute = FindKey(args.named, "attribute");
  const Value* fallback = FindKey(args.named, "default");
  const bool by_filter = attribute == nullptr;
  std::string name;
  CallArgs rest;
  if (by_filter) {
    if (args.positional.empty()) return context.Fail("map needs a filter or an attribute");
    name = ToString(args.positional[0]);
    if (!IsFilter(name)) return context.Fail(Concat("map: no filter ", Quoted(name)));
    rest.positional.assign(args.positional.begin() + 1, args.positional.end());
    rest.named = args.named;
  }
  List out;
  for (const Value& item : IterateIfTrue(context, value)) {
    if (!context.Step()) break;
    Value mapped =
        by_filter ? ApplyFilter(context, name, item, rest) : AttributePath(context, item, *attribute);
    if (mapped.is(Kind::kUndefined) && fallback != nullptr) mapped = *fallback;
    out.push_back(std::move(mapped));
  }
  return context.NewList(std::move(out));
}

enum class Keep { kMatching, kOthers };
enum class Subject { kItem, kAttribute };

// select, reject, selectattr and rejectattr: without a test, by truth.
template <Keep kKeep, Subject kSubject>
Value Select(Context& context, const Value& value, const CallArgs& args) {
  size_t next = 0;
  Value attribute;
  if (kSubject == Subject::kAttribute) {
    if (args.positional.empty()) return context.Fail("selectattr and rejectattr need an attribute");
    attribute = args.positional[next++];
  }
  std::string test;
  CallArgs rest;
  if (next < args.positional.size()) {
    test = ToString(args.positional[next++]);
    if (!IsTest(test)) return context.Fail(Concat("no test ", Quoted(test)));
    rest.positional.assign(args.positional.begin() + next, args.positional.end());
  }
  List out;
  for (const Value& item : IterateIfTrue(context, value)) {
    if (!context.Step()) break;
    const Value subject = kSubject == Subject::kItem ? item : AttributePath(context, item, attribute);
    const bool matches = test.empty() ? IsTrue(subject) : ApplyTest(context, test, subject, rest);
    if (matches == (kKeep == Keep::kMatching)) out.push_back(item);
  }
  return context.NewList(std::move(out));
}

// What sort, unique, min and max look at: an attribute, and strings without regard to case unless asked.
Value SortKey(Context& context, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key =
      attribute == nullptr || attribute->is(Kind::kNone) ? item : AttributePath(context, item, *attribute);
  if (!case_sensitive && key.is(Kind::kString)) key = context.NewString(LowerCase(key.string()));
  return key;
}

Value Sort(Context& context, const Value& value, const CallArgs& args) {
  const Value* reverse = args.Find(0, "reverse");
  const Value* case_sensitive = args.Find(1, "case_sensitive");
  const Value* attribute = args.Find(2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : Iterate(context, value)) {
    keyed.emplace_back(
        SortKey(context, item, attribute, case_sensitive != nullptr && IsTrue(*case_sensitive)), item);
  }
  if (!context.Step(static_cast<int64_t>(keyed.size()) * 8)) return Value();
  const bool descending = reverse != nullptr && IsTrue(*reverse);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return descending ? Holds(context, "<", b.first, a.first) : Holds(context, "<", a.first, b.first);
  });
  List out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return context.NewList(std::move(out));
}

Value Unique(Context& context, const Value& value, const CallArgs& args) {
  const Value* case_sensitive = args.Find(0, "case_sensitive");
  const Value* attribute = args.Find(1, "attribute");
  List seen;
  List out;
  for (const Value& item : Iterate(context, value)) {
    const Value key = SortKey(context, item, attribute, case_sensitive != nullptr && IsTrue(*case_sensitive));
    if (!context.Step(static_cast<int64_t>(seen.size() * (1 + key.weight() / 64)) + 1)) break;
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return Equal(other, key); }))
      continue;
    seen.push_back(key);
    out.push_back(item);
  }
  return context.NewList(std::move(out));
}

enum class Extreme { kMin, kMax };

template <Extreme kExtreme>
Value Extremum(Context& context, const Value& value, const CallArgs& args) {
  const Value* case_sensitive = args.Find(0, "case_sensitive");
  const Value* attribute = args.Find(1, "attribute");
  Value best_key;
  Value best = Value::UndefinedNamed("an empty sequence");
  bool any = false;
  for (const Value& item : Iterate(context, value)) {
    const Value key = SortKey(context, item, attribute, case_sensitive != nullptr && IsTrue(*case_sensitive));
    const std::string_view op = kExtreme == Extreme::kMin ? "<" : ">";
    if (any && !Holds(context, op, key, best_key)) continue;
    any = true;
    best_key = key;
    best = item;
  }
  return best;
}

Value Sum(Context& context, const Value& value, const CallArgs& args) {
  const Value* attribute = args.Find(0, "attribute");
  const Value* start = args.Find(1, "start");
  Value total = start == nullptr ? Value::Int(0) : *start;
  for (const Value& item : Iterate(context, value)) {
    const bool whole = attribute == nullptr || attribute->is(Kind::kNone);
    total = Arithmetic(context, "+", total, whole ? item : AttributePath(context, item, *attribute));
  }
  return total;
}

Value DictSort(Context& context, const Value& value, const CallArgs& args) {
  if (!value.is(Kind::kDict)) return context.Fail(Concat("dictsort does not apply to ", TypeName(value)));
  if (args.size() > 0) return context.Fail("dictsort with arguments is not supported");
  CallArgs by_key;
  by_key.named.emplace_back("attribute", Value::Int(0));
  return Sort(context, Items(context, value, {}), by_key);
}

}  // namespace

const std::map<std::string_view, FilterFunction>& SequenceFilters() {
  static const auto* const kFilters = new std::map<std::string_view, FilterFunction>{
      {"count", LengthOf},
      {"dictsort", DictSort},
      {"first", First},
      {"items", Items},
      {"join", Join},
      {"last", Last},
      {"length", LengthOf},
      {"list", ToList},
      {"map", Map},
      {"max", Extremum<Extreme::kMax>},
      {"min", Extremum<Extreme::kMin>},
      {"reject", Select<Keep::kOthers, Subject::kItem>},
      {"rejectattr", Select<Keep::kOthers, Subject::kAttribute>},
      {"reverse", Reverse},
      {"select", Select<Keep::kMatching, Subject::kItem>},
      {"selectattr", Select<Keep::kMatching, Subject::kAttribute>},
      {"sort", Sort},
      {"sum", Sum},
      {"unique", Unique},
  };
  return *kFilters;
}

}  // namespace memgate::jinja
