// Sets of Unicode characters and the bytes that spell them.
#ifndef MEMGATE_ENGINE_STRUCTURED_CODE_POINTS_H_
#define MEMGATE_ENGINE_STRUCTURED_CODE_POINTS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace memgate {

struct CodePointRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive
  bool operator==(const CodePointRange&) const = default;
};

inline constexpr char32_t kLastCodePoint = 0x10FFFF;

// A set of Unicode scalar values: surrogates are never in it. Immutable.
class CodePointSet {
 public:
  CodePointSet() = default;  // empty
  // The union of `ranges`, which may overlap, in any order. Surrogates and what lies beyond U+10FFFF are left
  // out.
  explicit CodePointSet(std::vector<CodePointRange> ranges);
  static CodePointSet All() { return CodePointSet({{0, kLastCodePoint}}); }
  static CodePointSet Of(char32_t code_point) { return CodePointSet({{code_point, code_point}}); }

  CodePointSet Intersection(const CodePointSet& other) const;
  CodePointSet Complement() const;

  bool empty() const { return ranges_.empty(); }
  bool Contains(char32_t code_point) const;
  // Ascending, disjoint, and no two that could be one.
  const std::vector<CodePointRange>& ranges() const { return ranges_; }
  bool operator==(const CodePointSet&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const CodePointSet& set) {
    for (const CodePointRange& range : set.ranges_) h = H::combine(std::move(h), range.first, range.last);
    return H::combine(std::move(h), set.ranges_.size());
  }

 private:
  std::vector<CodePointRange> ranges_;
};

// The character whose number `text` begins with, in `digits` hexadecimal digits. INVALID_ARGUMENT if there
// are fewer, or if no character has that number.
absl::StatusOr<char32_t> ReadHexCodePoint(std::string_view text, size_t digits);

struct ByteRange {
  uint8_t first = 0;
  uint8_t last = 0;  // inclusive
  bool operator==(const ByteRange&) const = default;
};

// 1 to 4 ranges: any byte of the first, then any of the second...
using ByteSequence = std::vector<ByteRange>;

// Sequences that spell, in UTF-8, exactly the characters of the set; no two spell the same one.
std::vector<ByteSequence> Utf8Sequences(const CodePointSet& set);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_CODE_POINTS_H_
