// Python's text functions.
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>

#include "engine/text/jinja_builtins.h"
#include "engine/text/unicode.h"

namespace memgate::jinja {
namespace {

icu::UnicodeString FromUtf8(std::string_view text) {
  return icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
}

std::string ToUtf8(const icu::UnicodeString& text) {
  std::string out;
  text.toUTF8String(out);
  return out;
}

// Python counts the four information separators as white space, Unicode does not.
bool IsPythonSpace(char32_t c) { return IsUnicodeSpace(c) || (c >= 0x1C && c <= 0x1F); }

}  // namespace

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> characters;
  characters.reserve(text.size());
  while (!text.empty()) {
    const size_t bytes = ReadUtf8(text).bytes;
    characters.push_back(text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  return characters;
}

std::string UpperCase(std::string_view text) {
  return ToUtf8(FromUtf8(text).toUpper(icu::Locale::getRoot()));
}
std::string LowerCase(std::string_view text) {
  return ToUtf8(FromUtf8(text).toLower(icu::Locale::getRoot()));
}

std::string Capitalized(std::string_view text) {
  if (text.empty()) return "";
  const size_t first = ReadUtf8(text).bytes;
  return UpperCase(text.substr(0, first)) + LowerCase(text.substr(first));
}

std::string_view Strip(std::string_view text, Side side, const std::string* characters) {
  const std::vector<std::string_view> set =
      characters == nullptr ? std::vector<std::string_view>() : Characters(*characters);
  const auto strips = [&](std::string_view character) {
    if (characters == nullptr) return IsPythonSpace(ReadUtf8(character).code_point);
    return std::find(set.begin(), set.end(), character) != set.end();
  };
  while (side != Side::kRight && !text.empty()) {
    const size_t bytes = ReadUtf8(text).bytes;
    if (!strips(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  while (side != Side::kLeft && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (!strips(text.substr(start))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::string ReplaceText(std::string_view text, std::string_view from, std::string_view to, int64_t count) {
  std::string out;
  size_t done = 0;
  if (from.empty()) {  // Python puts `to` before every character and at the end.
    for (const std::string_view character : Characters(text)) {
      if (count-- == 0) break;
      out.append(to).append(character);
      done += character.size();
      if (count == 0) break;
    }
    out.append(text.substr(done));
    if (count != 0 && done == text.size()) out.append(to);
    return out;
  }
  for (size_t at = text.find(from); at != std::string_view::npos && count != 0; at = text.find(from, done)) {
    out.append(text.substr(done, at - done)).append(to);
    done = at + from.size();
    --count;
  }
  return out.append(text.substr(done));
}

}  // namespace memgate::jinja
