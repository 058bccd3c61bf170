#include "engine/structured/code_points.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "engine/base/strings.h"

namespace memgate {
namespace {

constexpr char32_t kLastBeforeSurrogates = 0xD7FF;
constexpr char32_t kFirstAfterSurrogates = 0xE000;

// Sorts and joins what overlaps or touches.
std::vector<CodePointRange> Joined(std::vector<CodePointRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const CodePointRange& a, const CodePointRange& b) { return a.first < b.first; });
  std::vector<CodePointRange> joined;
  for (const CodePointRange& range : ranges) {
    if (!joined.empty() && range.first <= joined.back().last + 1) {
      joined.back().last = std::max(joined.back().last, range.last);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

// The last character that is spelled with `bytes` bytes.
constexpr std::array<char32_t, 5> kLastOfLength = {0, 0x7F, 0x7FF, 0xFFFF, kLastCodePoint};

// `bytes` bytes spell `code_point`.
std::array<uint8_t, 4> Spell(char32_t code_point, int bytes) {
  constexpr std::array<uint8_t, 5> kLead = {0, 0x00, 0xC0, 0xE0, 0xF0};
  std::array<uint8_t, 4> spelled = {};
  for (int i = bytes - 1; i > 0; --i, code_point >>= 6) {
    spelled[i] = static_cast<uint8_t>(0x80 | (code_point & 0x3F));
  }
  spelled[0] = static_cast<uint8_t>(kLead[bytes] | code_point);
  return spelled;
}

// first..last are all spelled with `bytes` bytes. A range whose last k bytes run through all their values is
// one sequence; others are cut where that begins and ends.
void AppendSequences(char32_t first, char32_t last, int bytes, std::vector<ByteSequence>& sequences) {
  for (int k = 1; k < bytes; ++k) {
    const char32_t low = (char32_t{1} << (6 * k)) - 1;  // the bits of the last k bytes
    if ((first & ~low) == (last & ~low)) break;         // they differ in the last k bytes only
    if ((first & low) != 0) {
      AppendSequences(first, first | low, bytes, sequences);
      AppendSequences((first | low) + 1, last, bytes, sequences);
      return;
    }
    if ((last & low) != low) {
      AppendSequences(first, (last & ~low) - 1, bytes, sequences);
      AppendSequences(last & ~low, last, bytes, sequences);
      return;
    }
  }
  const std::array<uint8_t, 4> from = Spell(first, bytes);
  const std::array<uint8_t, 4> to = Spell(last, bytes);
  ByteSequence sequence;
  for (int i = 0; i < bytes; ++i) sequence.push_back({from[i], to[i]});
  sequences.push_back(std::move(sequence));
}

}  // namespace

CodePointSet::CodePointSet(std::vector<CodePointRange> ranges) {
  std::vector<CodePointRange> scalar;
  for (const CodePointRange& range : ranges) {
    const char32_t last = std::min(range.last, kLastCodePoint);
    const char32_t before = std::min(last, kLastBeforeSurrogates);
    const char32_t after = std::max(range.first, kFirstAfterSurrogates);
    if (range.first <= before) scalar.push_back({range.first, before});
    if (after <= last) scalar.push_back({after, last});
  }
  ranges_ = Joined(std::move(scalar));
}

CodePointSet CodePointSet::Intersection(const CodePointSet& other) const {
  std::vector<CodePointRange> ranges;
  for (size_t i = 0, j = 0; i < ranges_.size() && j < other.ranges_.size();) {
    const CodePointRange& a = ranges_[i];
    const CodePointRange& b = other.ranges_[j];
    const char32_t first = std::max(a.first, b.first);
    const char32_t last = std::min(a.last, b.last);
    if (first <= last) ranges.push_back({first, last});
    a.last < b.last ? ++i : ++j;
  }
  return CodePointSet(std::move(ranges));
}

CodePointSet CodePointSet::Complement() const {
  std::vector<CodePointRange> ranges;
  char32_t next = 0;
  for (const CodePointRange& range : ranges_) {
    if (range.first > next) ranges.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) ranges.push_back({next, kLastCodePoint});
  return CodePointSet(std::move(ranges));
}

bool CodePointSet::Contains(char32_t code_point) const {
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), code_point,
                       [](char32_t value, const CodePointRange& range) { return value < range.first; });
  return after != ranges_.begin() && code_point <= std::prev(after)->last;
}

absl::StatusOr<char32_t> ReadHexCodePoint(std::string_view text, size_t digits) {
  const std::string_view hex = text.substr(0, digits);
  uint32_t value = 0;
  if (hex.size() < digits || !std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit) ||
      !absl::SimpleHexAtoi(ToAbsl(hex), &value)) {
    return absl::InvalidArgumentError(Concat("expected ", digits, " hexadecimal digits"));
  }
  if (CodePointSet::Of(static_cast<char32_t>(value)).empty()) {
    return absl::InvalidArgumentError("no Unicode character");
  }
  return static_cast<char32_t>(value);
}

std::vector<ByteSequence> Utf8Sequences(const CodePointSet& set) {
  std::vector<ByteSequence> sequences;
  for (const CodePointRange& range : set.ranges()) {
    for (int bytes = 1; bytes <= 4; ++bytes) {
      const char32_t shortest = bytes == 1 ? U'\0' : static_cast<char32_t>(kLastOfLength[bytes - 1] + 1);
      const char32_t first = std::max(range.first, shortest);
      const char32_t last = std::min(range.last, kLastOfLength[bytes]);
      if (first <= last) AppendSequences(first, last, bytes, sequences);
    }
  }
  return sequences;
}

}  // namespace memgate
