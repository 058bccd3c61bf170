// str(), repr() and JSON of template values.
#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_format.h"
#include "engine/text/jinja_value.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate::jinja {
namespace {

// The shortest digits that read back as the same number, laid out as Python does: an exponent outside 1e-4 ..
// 1e16.
std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, end - buffer);
  const size_t mark = text.find('e');
  int exponent = 0;
  const bool negative_exponent = text[mark + 1] == '-';
  std::from_chars(text.data() + mark + 2, text.data() + text.size(), exponent);
  if (negative_exponent) exponent = -exponent;
  if (exponent < -4 || exponent >= 16) {
    return Concat(text.substr(0, mark), "e", exponent < 0 ? "-" : "+", std::abs(exponent) < 10 ? "0" : "",
                  std::abs(exponent));
  }
  std::string fixed(400, '\0');
  const auto fixed_end =
      std::to_chars(fixed.data(), fixed.data() + fixed.size(), value, std::chars_format::fixed).ptr;
  fixed.resize(fixed_end - fixed.data());
  if (fixed.find('.') == std::string::npos) fixed += ".0";
  return fixed;
}

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  const uint32_t unprintable =
      U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK | U_GC_CN_MASK | U_GC_Z_MASK;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & unprintable) == 0;
}

std::string StringRepr(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    const Utf8Step step = ReadUtf8(text);
    const char32_t c = step.code_point;
    if (c == '\\' || c == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(c)) {
      out += text.substr(0, step.bytes);
    } else if (c < 0x100) {
      out += absl::StrFormat("\\x%02x", static_cast<unsigned>(c));
    } else if (c < 0x10000) {
      out += absl::StrFormat("\\u%04x", static_cast<unsigned>(c));
    } else {
      out += absl::StrFormat("\\U%08x", static_cast<unsigned>(c));
    }
    text.remove_prefix(step.bytes);
  }
  out += quote;
  return out;
}

std::string JsonString(std::string_view text, bool ensure_ascii) {
  std::string out = "\"";
  while (!text.empty()) {
    const Utf8Step step = ReadUtf8(text);
    const char32_t c = step.code_point;
    constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b";
    constexpr std::string_view kLetters = "\"\\nrtfb";
    const size_t escape = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : std::string_view::npos;
    if (escape != std::string_view::npos) {
      out += '\\';
      out += kLetters[escape];
    } else if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000 && c != 0x7F)) {
      out += absl::StrFormat("\\u%04x", static_cast<unsigned>(c));
    } else if (ensure_ascii && c >= 0x10000) {
      const unsigned rest = static_cast<unsigned>(c) - 0x10000;
      out += absl::StrFormat("\\u%04x\\u%04x", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    } else {
      out += text.substr(0, step.bytes);
    }
    text.remove_prefix(step.bytes);
  }
  out += '"';
  return out;
}

// Appends the JSON of `value`; false if it has none.
bool AppendJson(const Value& value, const JsonStyle& style, int level, std::string& out) {
  const auto new_line = [&](int at_level) {
    if (style.indent >= 0) out.append("\n").append(static_cast<size_t>(at_level) * style.indent, ' ');
  };
  switch (value.kind()) {
    case Kind::kNone:
      out += "null";
      return true;
    case Kind::kBool:
      out += IsTrue(value) ? "true" : "false";
      return true;
    case Kind::kInt:
      out += ToString(value);
      return true;
    case Kind::kFloat: {
      const double number = value.AsDouble();
      out += std::isnan(number)   ? "NaN"
             : std::isinf(number) ? (number < 0 ? "-Infinity" : "Infinity")
                                  : FloatText(number);
      return true;
    }
    case Kind::kString:
      out += JsonString(value.string(), style.ensure_ascii);
      return true;
    case Kind::kList: {
      if (value.list().empty()) {
        out += "[]";
        return true;
      }
      std::string_view separator = "[";
      for (const Value& item : value.list()) {
        out += separator;
        new_line(level + 1);
        if (!AppendJson(item, style, level + 1, out)) return false;
        separator = style.item_separator;
      }
      new_line(level);
      out += ']';
      return true;
    }
    case Kind::kDict: {
      if (value.dict().empty()) {
        out += "{}";
        return true;
      }
      std::vector<const Dict::value_type*> entries;
      for (const auto& entry : value.dict()) entries.push_back(&entry);
      if (style.sort_keys) {
        std::stable_sort(entries.begin(), entries.end(),
                         [](auto* a, auto* b) { return a->first < b->first; });
      }
      std::string_view separator = "{";
      for (const auto* entry : entries) {
        out += separator;
        new_line(level + 1);
        out += JsonString(entry->first, style.ensure_ascii);
        out += style.key_separator;
        if (!AppendJson(entry->second, style, level + 1, out)) return false;
        separator = style.item_separator;
      }
      new_line(level);
      out += '}';
      return true;
    }
    default:
      return false;
  }
}

}  // namespace

std::string ToString(const Value& value) {
  if (value.is(Kind::kString)) return value.string();
  if (value.is(Kind::kUndefined)) return "";
  return Repr(value);
}

std::string Repr(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return IsTrue(value) ? "True" : "False";
    case Kind::kInt:
      return Concat(*value.AsInt());
    case Kind::kFloat:
      return FloatText(value.AsDouble());
    case Kind::kString:
      return StringRepr(value.string());
    case Kind::kList: {
      std::string out = "[";
      for (const Value& item : value.list()) {
        if (out.size() > 1) out += ", ";
        out += Repr(item);
      }
      return out + "]";
    }
    case Kind::kDict: {
      std::string out = "{";
      for (const auto& [key, item] : value.dict()) {
        if (out.size() > 1) out += ", ";
        out += Concat(StringRepr(key), ": ", Repr(item));
      }
      return out + "}";
    }
    default:
      return Concat("<", TypeName(value), ">");
  }
}

std::optional<std::string> ToJson(const Value& value, const JsonStyle& style) {
  std::string out;
  if (!AppendJson(value, style, 0, out)) return std::nullopt;
  return out;
}

}  // namespace memgate::jinja
