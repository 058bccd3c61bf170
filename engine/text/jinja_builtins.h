// Filters, tests and methods of template values, with the meaning they have in Jinja and Python.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_BUILTINS_H_
#define MEMGATE_ENGINE_TEXT_JINJA_BUILTINS_H_

#include <optional>
#include <string_view>
#include <vector>

#include "engine/text/jinja_context.h"
#include "engine/text/jinja_value.h"

namespace memgate::jinja {

struct CallArgs {
  std::vector<Value> positional;
  Dict named;

  size_t size() const { return positional.size() + named.size(); }
  // The argument at `index` or called `name`; null if it was not given.
  const Value* Find(size_t index, std::string_view name) const;
};

bool IsFilter(std::string_view name);
bool IsTest(std::string_view name);

// REQUIRES: IsFilter(name) / IsTest(name).
Value ApplyFilter(Context& context, std::string_view name, const Value& value, const CallArgs& args);
bool ApplyTest(Context& context, std::string_view name, const Value& value, const CallArgs& args);

// value.name as Jinja looks it up: methods first, then the entries of a dict. Undefined if there is none.
Value Attribute(Context& context, const Value& value, std::string_view name);
// value[key]: entries first, then attributes.
Value Subscript(Context& context, const Value& value, const Value& key);
Value Slice(Context& context, const Value& value, const Value& start, const Value& stop, const Value& step);

// Calls a method that Attribute returned. REQUIRES: method.self.
Value CallMethod(Context& context, const Callable& method, const CallArgs& args);

// What a for loop goes through; an error if Python cannot iterate over it.
List Iterate(Context& context, const Value& value);
bool Contains(Context& context, const Value& container, const Value& item);
std::optional<int64_t> Length(const Value& value);

// Python's arithmetic; `op` is one of + - * / // % **.
Value Arithmetic(Context& context, std::string_view op, const Value& a, const Value& b);
// One of == != < <= > >= in "not in".
bool Holds(Context& context, std::string_view op, const Value& a, const Value& b);

// Characters of valid UTF-8.
std::vector<std::string_view> Characters(std::string_view text);

// Text functions that filters and methods share.
std::string UpperCase(std::string_view text);
std::string LowerCase(std::string_view text);
std::string Capitalized(std::string_view text);
enum class Side { kLeft, kRight, kBoth };
// Without `characters`: white space.
std::string_view Strip(std::string_view text, Side side, const std::string* characters);
// Replaces at most `count` times (negative: all).
std::string ReplaceText(std::string_view text, std::string_view from, std::string_view to, int64_t count);

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_BUILTINS_H_
