// Methods of strings and dicts, and the attributes of namespaces and loops.
#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "engine/text/jinja_builtins.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate::jinja {
namespace {

using Method = Value (*)(Context&, const Value& self, const CallArgs&);

// The string argument at `index`; an error if it is missing or another type.
const std::string* TextArgument(Context& context, const CallArgs& args, size_t index,
                                std::string_view method) {
  if (index < args.positional.size() && args.positional[index].is(Kind::kString)) {
    return &args.positional[index].string();
  }
  context.Fail(Concat(method, ": argument ", index + 1, " must be a string"));
  return nullptr;
}

template <Side kSide>
Value StripMethod(Context& context, const Value& self, const CallArgs& args) {
  const bool given = !args.positional.empty() && !args.positional[0].is(Kind::kNone);
  const std::string* characters = given ? TextArgument(context, args, 0, "strip") : nullptr;
  if (context.failed()) return Value();
  return context.NewString(std::string(Strip(self.string(), kSide, characters)));
}

enum class End { kStart, kEnd };

// Takes one string or a list of them.
template <End kEnd>
Value HasAffix(Context& context, const Value& self, const CallArgs& args) {
  List candidates;
  if (!args.positional.empty() && args.positional[0].is(Kind::kList)) {
    candidates = args.positional[0].list();
  } else if (TextArgument(context, args, 0, "startswith and endswith") != nullptr) {
    candidates = {args.positional[0]};
  }
  for (const Value& candidate : candidates) {
    if (!candidate.is(Kind::kString)) return context.Fail("startswith and endswith take strings");
    const bool has = kEnd == End::kStart ? self.string().starts_with(candidate.string())
                                         : self.string().ends_with(candidate.string());
    if (has) return Value::Bool(true);
  }
  return Value::Bool(false);
}

template <End kEnd>
Value RemoveAffix(Context& context, const Value& self, const CallArgs& args) {
  const std::string* affix = TextArgument(context, args, 0, "removeprefix and removesuffix");
  if (affix == nullptr) return Value();
  std::string_view text = self.string();
  if (kEnd == End::kStart && text.starts_with(*affix)) text.remove_prefix(affix->size());
  if (kEnd == End::kEnd && text.ends_with(*affix)) text.remove_suffix(affix->size());
  return context.NewString(std::string(text));
}

// Without a separator: at runs of white space, which leave no empty parts.
Value SplitAtSpace(Context& context, std::string_view text, int64_t max_splits) {
  List parts;
  text = Strip(text, Side::kLeft, nullptr);
  while (!text.empty() && context.Step()) {
    size_t size = 0;
    while (size < text.size()) {
      const Utf8Step step = ReadUtf8(text.substr(size));
      if (IsUnicodeSpace(step.code_point)) break;
      size += step.bytes;
    }
    if (max_splits-- == 0) {
      text = Strip(text, Side::kRight, nullptr);
      size = text.size();
    }
    parts.push_back(context.NewString(std::string(text.substr(0, size))));
    text = Strip(text.substr(size), Side::kLeft, nullptr);
  }
  return context.NewList(std::move(parts));
}

template <Side kSide>
Value Split(Context& context, const Value& self, const CallArgs& args) {
  const Value* separator = args.Find(0, "sep");
  const Value* limit = args.Find(1, "maxsplit");
  int64_t max_splits = limit == nullptr ? -1 : limit->AsInt().value_or(-1);
  std::string_view text = self.string();
  if (separator == nullptr || separator->is(Kind::kNone)) {
    if (kSide == Side::kRight && max_splits >= 0) return context.Fail("rsplit needs a separator");
    return SplitAtSpace(context, text, max_splits);
  }
  if (!separator->is(Kind::kString) || separator->string().empty()) {
    return context.Fail("split: the separator must be a string that is not empty");
  }
  const std::string& between = separator->string();
  List parts;
  for (; max_splits != 0 && context.Step(); --max_splits) {
    const size_t at = kSide == Side::kRight ? text.rfind(between) : text.find(between);
    if (at == std::string_view::npos) break;
    const std::string_view tail = text.substr(at + between.size());
    const std::string_view head = text.substr(0, at);
    parts.push_back(context.NewString(std::string(kSide == Side::kRight ? tail : head)));
    text = kSide == Side::kRight ? head : tail;
  }
  parts.push_back(context.NewString(std::string(text)));
  if (kSide == Side::kRight) std::reverse(parts.begin(), parts.end());
  return context.NewList(std::move(parts));
}

Value SplitLines(Context& context, const Value& self, const CallArgs&) {
  List parts;
  std::string_view text = self.string();
  while (!text.empty() && context.Step()) {
    const size_t end = text.find_first_of("\r\n");
    parts.push_back(context.NewString(std::string(text.substr(0, end))));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + (text.substr(end).starts_with("\r\n") ? 2 : 1));
  }
  return context.NewList(std::move(parts));
}

Value ReplaceMethod(Context& context, const Value& self, const CallArgs& args) {
  if (TextArgument(context, args, 0, "replace") == nullptr) return Value();
  if (TextArgument(context, args, 1, "replace") == nullptr) return Value();
  return ApplyFilter(context, "replace", self, args);
}

template <const char* kFilter>
Value ByFilter(Context& context, const Value& self, const CallArgs& args) {
  return ApplyFilter(context, kFilter, self, args);
}
constexpr char kUpper[] = "upper";
constexpr char kLower[] = "lower";
constexpr char kCapitalize[] = "capitalize";

// Python's: a letter after anything that is no letter starts a word.
Value TitleMethod(Context& context, const Value& self, const CallArgs&) {
  std::string out;
  bool in_word = false;
  for (const std::string_view c : Characters(self.string())) {
    out += in_word ? LowerCase(c) : UpperCase(c);
    in_word = u_hasBinaryProperty(static_cast<UChar32>(ReadUtf8(c).code_point), UCHAR_CASED);
  }
  return context.NewString(std::move(out));
}

// The position in characters, or -1.
Value Find(Context& context, const Value& self, const CallArgs& args) {
  const std::string* wanted = TextArgument(context, args, 0, "find");
  if (wanted == nullptr) return Value();
  const size_t at = self.string().find(*wanted);
  if (at == std::string::npos) return Value::Int(-1);
  return Value::Int(static_cast<int64_t>(Characters(std::string_view(self.string()).substr(0, at)).size()));
}

Value Count(Context& context, const Value& self, const CallArgs& args) {
  const std::string* wanted = TextArgument(context, args, 0, "count");
  if (wanted == nullptr) return Value();
  if (wanted->empty()) return Value::Int(*Length(self) + 1);
  int64_t count = 0;
  for (size_t at = self.string().find(*wanted); at != std::string::npos;
       at = self.string().find(*wanted, at + wanted->size())) {
    ++count;
  }
  return Value::Int(count);
}

Value JoinMethod(Context& context, const Value& self, const CallArgs& args) {
  if (args.positional.size() != 1) return context.Fail("join needs one argument");
  CallArgs separator;
  separator.positional = {self};
  return ApplyFilter(context, "join", args.positional[0], separator);
}

// How the fields of a format choose among its positional arguments: one after the other, or by number.
struct FormatPlaces {
  size_t next = 0;
  bool numbered = false;
};

// The argument that the field "{}", "{0}" or "{name}" stands for, without its braces; null if there is none.
const Value* FormatArgument(const CallArgs& args, std::string_view field, FormatPlaces& places) {
  if (const Value* named = FindKey(args.named, field)) return named;
  size_t place = 0;
  if (field.empty()) {
    place = places.next++;
  } else {
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), place);
    if (error != std::errc() || end != field.data() + field.size()) return nullptr;
    places.numbered = true;
  }
  const bool mixed = places.numbered && places.next > 0;
  return mixed || place >= args.positional.size() ? nullptr : &args.positional[place];
}

// Python's, without widths, conversions and attributes in fields.
Value FormatMethod(Context& context, const Value& self, const CallArgs& args) {
  std::string out;
  FormatPlaces places;
  std::string_view rest = self.string();
  while (!context.failed()) {
    const size_t at = rest.find_first_of("{}");
    out += rest.substr(0, at);
    if (at == std::string_view::npos) break;
    rest.remove_prefix(at);
    if (rest.starts_with("{{") || rest.starts_with("}}")) {
      out += rest[0];
      rest.remove_prefix(2);
      continue;
    }
    const size_t end = rest.find('}');
    if (end == 0 || end == std::string_view::npos) return context.Fail("format: a brace by itself");
    const Value* value = FormatArgument(args, rest.substr(1, end - 1), places);
    if (value == nullptr) {
      return context.Fail(Concat("format: no argument for ", Quoted(rest.substr(0, end + 1))));
    }
    const std::string text = ToString(*value);
    context.Charge(text.size());
    out += text;
    rest.remove_prefix(end + 1);
  }
  return context.NewString(std::move(out));
}

template <bool (*kHolds)(char32_t)>
Value AllCharacters(Context&, const Value& self, const CallArgs&) {
  const std::vector<std::string_view> characters = Characters(self.string());
  return Value::Bool(!characters.empty() && std::all_of(characters.begin(), characters.end(), [](auto c) {
    return kHolds(ReadUtf8(c).code_point);
  }));
}

bool IsDigit(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_DECIMAL_DIGIT_NUMBER; }
bool IsLetter(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0; }
bool IsLetterOrDigit(char32_t c) { return IsLetter(c) || IsDigit(c); }

Value GetMethod(Context& context, const Value& self, const CallArgs& args) {
  if (args.positional.empty()) return context.Fail("get needs a key");
  const Value& key = args.positional[0];
  const Value* found = key.is(Kind::kString) ? FindKey(self.dict(), key.string()) : nullptr;
  if (found != nullptr) return *found;
  return args.positional.size() > 1 ? args.positional[1] : Value::NoneValue();
}

Value KeysMethod(Context& context, const Value& self, const CallArgs&) {
  return context.NewList(Iterate(context, self));
}

Value ValuesMethod(Context& context, const Value& self, const CallArgs&) {
  List values;
  for (const auto& [key, value] : self.dict()) values.push_back(value);
  return context.NewList(std::move(values));
}

Value ItemsMethod(Context& context, const Value& self, const CallArgs&) {
  return ApplyFilter(context, "items", self, {});
}

using MethodTable = std::map<std::string_view, Method>;

const MethodTable& StringMethods() {
  static const auto* const kMethods = new MethodTable{
      {"capitalize", ByFilter<kCapitalize>},
      {"count", Count},
      {"endswith", HasAffix<End::kEnd>},
      {"find", Find},
      {"format", FormatMethod},
      {"isalnum", AllCharacters<IsLetterOrDigit>},
      {"isalpha", AllCharacters<IsLetter>},
      {"isdigit", AllCharacters<IsDigit>},
      {"isspace", AllCharacters<IsUnicodeSpace>},
      {"join", JoinMethod},
      {"lower", ByFilter<kLower>},
      {"lstrip", StripMethod<Side::kLeft>},
      {"removeprefix", RemoveAffix<End::kStart>},
      {"removesuffix", RemoveAffix<End::kEnd>},
      {"replace", ReplaceMethod},
      {"rsplit", Split<Side::kRight>},
      {"rstrip", StripMethod<Side::kRight>},
      {"split", Split<Side::kLeft>},
      {"splitlines", SplitLines},
      {"startswith", HasAffix<End::kStart>},
      {"strip", StripMethod<Side::kBoth>},
      {"title", TitleMethod},
      {"upper", ByFilter<kUpper>},
  };
  return *kMethods;
}

const MethodTable& DictMethods() {
  static const auto* const kMethods = new MethodTable{
      {"get", GetMethod}, {"items", ItemsMethod}, {"keys", KeysMethod}, {"values", ValuesMethod}};
  return *kMethods;
}

// loop.index and its like.
Value LoopAttribute(const LoopState& loop, const Value& self, std::string_view name) {
  const List& items = loop.items.list();
  const int64_t length = static_cast<int64_t>(items.size());
  if (name == "index") return Value::Int(loop.index0 + 1);
  if (name == "index0") return Value::Int(loop.index0);
  if (name == "revindex") return Value::Int(length - loop.index0);
  if (name == "revindex0") return Value::Int(length - loop.index0 - 1);
  if (name == "first") return Value::Bool(loop.index0 == 0);
  if (name == "last") return Value::Bool(loop.index0 == length - 1);
  if (name == "length") return Value::Int(length);
  // Depth counts the levels of recursive loops only, which are not supported.
  if (name == "depth") return Value::Int(1);
  if (name == "depth0") return Value::Int(0);
  if (name == "previtem" && loop.index0 > 0) return items[loop.index0 - 1];
  if (name == "nextitem" && loop.index0 + 1 < length) return items[loop.index0 + 1];
  if (name == "cycle") return Value::FromCallable({"cycle", self});
  return Value::UndefinedNamed(name);
}

}  // namespace

Value Attribute(Context& context, const Value& value, std::string_view name) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return context.Fail(
          Concat(value.undefined_name().empty() ? "a value" : Concat("'", value.undefined_name(), "'"),
                 " is undefined and has no ", Quoted(name)));
    case Kind::kString:
      if (StringMethods().contains(name)) return Value::FromCallable({std::string(name), value});
      return Value::UndefinedNamed(name);
    case Kind::kDict: {
      if (DictMethods().contains(name)) return Value::FromCallable({std::string(name), value});
      const Value* found = FindKey(value.dict(), name);
      return found == nullptr ? Value::UndefinedNamed(name) : *found;
    }
    case Kind::kNamespace: {
      const Value* found = FindKey(value.space().attributes, name);
      return found == nullptr ? Value::UndefinedNamed(name) : *found;
    }
    case Kind::kLoop:
      return LoopAttribute(value.loop(), value, name);
    default:
      return Value::UndefinedNamed(name);
  }
}

Value CallMethod(Context& context, const Callable& method, const CallArgs& args) {
  const Value& self = *method.self;
  if (!context.Read(self)) return Value();
  if (self.is(Kind::kLoop)) {
    if (args.positional.empty()) return context.Fail("cycle needs arguments");
    return args.positional[self.loop().index0 % args.positional.size()];
  }
  const MethodTable& methods = self.is(Kind::kString) ? StringMethods() : DictMethods();
  return methods.at(method.name)(context, self, args);
}

}  // namespace memgate::jinja
