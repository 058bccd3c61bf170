#include "engine/structured/text_pattern.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "engine/base/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

constexpr size_t kMaxPatternBytes = 2000;
constexpr int kMaxDepth = 64;
constexpr int64_t kMaxRepeats = 100'000;

// WhiteSpace and LineTerminator of ECMA-262.
CodePointSet Spaces() {
  return CodePointSet({{'\t', '\r'},
                       {' ', ' '},
                       {0xA0, 0xA0},
                       {0x1680, 0x1680},
                       {0x2000, 0x200A},
                       {0x2028, 0x2029},
                       {0x202F, 0x202F},
                       {0x205F, 0x205F},
                       {0x3000, 0x3000},
                       {0xFEFF, 0xFEFF}});
}

CodePointSet LineEnds() { return CodePointSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}); }

// \d and its like; nothing for other letters.
std::optional<CodePointSet> ClassOf(char letter) {
  const CodePointSet digits({{'0', '9'}});
  const CodePointSet word({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
  switch (letter) {
    case 'd':
      return digits;
    case 'D':
      return digits.Complement();
    case 'w':
      return word;
    case 'W':
      return word.Complement();
    case 's':
      return Spaces();
    case 'S':
      return Spaces().Complement();
    default:
      return std::nullopt;
  }
}

class PatternParser {
 public:
  using Expression = TextLanguages::Expression;

  PatternParser(std::string_view pattern, TextLanguages& languages) : text_(pattern), languages_(languages) {}

  absl::StatusOr<Expression> Parse() {
    if (text_.size() > kMaxPatternBytes) {
      return absl::InvalidArgumentError(Concat(text_.size(), " bytes, at most ", kMaxPatternBytes));
    }
    if (absl::Status status = CheckUtf8(text_); !status.ok()) return status;
    std::vector<Expression> alternatives;
    do {
      const bool at_start = Take('^');
      absl::StatusOr<Expression> sequence = ParseSequence(0);
      if (!sequence.ok()) return sequence;
      const bool at_end = Take('$');
      if (!AtEnd() && Peek() != '|') {
        if (at_end) --at_;
        return Unexpected();
      }
      Expression found = *sequence;
      if (!at_start) found = languages_.Join(languages_.Any(), found);
      if (!at_end) found = languages_.Join(found, languages_.Any());
      alternatives.push_back(found);
    } while (Take('|'));
    return languages_.Either(std::move(alternatives));
  }

 private:
  bool AtEnd() const { return at_ >= text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[at_]; }
  bool Take(char expected) {
    if (AtEnd() || text_[at_] != expected) return false;
    ++at_;
    return true;
  }
  absl::Status Error(std::string_view what) const {
    return absl::InvalidArgumentError(Concat("at byte ", at_, ": ", what));
  }
  absl::Status Unexpected() const {
    if (AtEnd()) return Error("the pattern ends too early");
    if (Peek() == '^' || Peek() == '$') {
      return Error("^ and $ are supported only around the pattern or its outermost alternatives");
    }
    return Error(Concat("unexpected '", text_.substr(at_, 1), "'"));
  }

  absl::StatusOr<Expression> ParseChoices(int depth) {
    if (depth > kMaxDepth) return Error(Concat("more than ", kMaxDepth, " open groups"));
    std::vector<Expression> alternatives;
    do {
      absl::StatusOr<Expression> sequence = ParseSequence(depth);
      if (!sequence.ok()) return sequence;
      alternatives.push_back(*sequence);
    } while (Take('|'));
    return languages_.Either(std::move(alternatives));
  }

  absl::StatusOr<Expression> ParseSequence(int depth) {
    std::vector<Expression> parts;
    while (!AtEnd() && Peek() != '|' && Peek() != ')' && Peek() != '$') {
      absl::StatusOr<Expression> part = ParseAtom(depth);
      if (!part.ok()) return part;
      part = ParseRepeat(*part);
      if (!part.ok()) return part;
      parts.push_back(*part);
    }
    Expression sequence = languages_.Empty();
    for (auto part = parts.rbegin(); part != parts.rend(); ++part)
      sequence = languages_.Join(*part, sequence);
    return sequence;
  }

  absl::StatusOr<Expression> ParseAtom(int depth) {
    switch (Peek()) {
      case '(':
        return ParseGroup(depth);
      case '[': {
        absl::StatusOr<CodePointSet> set = ParseClass();
        if (!set.ok()) return set.status();
        return languages_.Character(*set);
      }
      case '.':
        ++at_;
        return languages_.Character(LineEnds().Complement());
      case '^':
      case '*':
      case '+':
      case '?':
      case '{':
      case '}':
      case ']':
        return Unexpected();
      default: {
        absl::StatusOr<CodePointSet> set = ParseCharacter();
        if (!set.ok()) return set.status();
        return languages_.Character(*set);
      }
    }
  }

  absl::StatusOr<Expression> ParseGroup(int depth) {
    ++at_;  // (
    if (Take('?') && !Take(':')) return Error("only groups ( ) and (?: ) are supported");
    absl::StatusOr<Expression> choices = ParseChoices(depth + 1);
    if (!choices.ok()) return choices;
    if (!Take(')')) return Unexpected();
    return choices;
  }

  absl::StatusOr<Expression> ParseRepeat(Expression part) {
    int64_t min = 1;
    int64_t max = 1;
    if (Take('*')) {
      min = 0, max = -1;
    } else if (Take('+')) {
      max = -1;
    } else if (Take('?')) {
      min = 0;
    } else if (Take('{')) {
      if (absl::Status status = ParseCounts(min, max); !status.ok()) return status;
    } else {
      return part;
    }
    Take('?');  // lazy: the same texts
    return languages_.Repeat(part, min, max);
  }

  absl::Status ParseCounts(int64_t& min, int64_t& max) {
    absl::StatusOr<int64_t> count = ParseCount();
    if (!count.ok()) return count.status();
    min = max = *count;
    if (Take(',')) {
      max = -1;
      if (Peek() != '}') {
        count = ParseCount();
        if (!count.ok()) return count.status();
        max = *count;
      }
    }
    if (!Take('}')) return Unexpected();
    if (max >= 0 && max < min) return Error("at most fewer than at least");
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> ParseCount() {
    const size_t begin = at_;
    while (absl::ascii_isdigit(Peek())) ++at_;
    int64_t count = 0;
    if (!absl::SimpleAtoi(ToAbsl(text_.substr(begin, at_ - begin)), &count) || count > kMaxRepeats) {
      return Error(Concat("expected a number of repetitions of at most ", kMaxRepeats));
    }
    return count;
  }

  absl::StatusOr<CodePointSet> ParseClass() {
    ++at_;  // [
    const bool negated = Take('^');
    std::vector<CodePointRange> ranges;
    while (!Take(']')) {
      if (AtEnd()) return Unexpected();
      absl::StatusOr<CodePointSet> first = ParseCharacter();
      if (!first.ok()) return first;
      if (Peek() != '-' || text_.substr(at_).starts_with("-]")) {
        ranges.insert(ranges.end(), first->ranges().begin(), first->ranges().end());
        continue;
      }
      ++at_;  // -
      if (AtEnd()) return Unexpected();
      absl::StatusOr<CodePointSet> last = ParseCharacter();
      if (!last.ok()) return last;
      const std::optional<char32_t> from = Single(*first);
      const std::optional<char32_t> to = Single(*last);
      if (!from || !to || *to < *from) return Error("the range of characters is none");
      ranges.push_back({*from, *to});
    }
    const CodePointSet set(std::move(ranges));
    return negated ? set.Complement() : set;
  }

  static std::optional<char32_t> Single(const CodePointSet& set) {
    if (set.ranges().size() != 1 || set.ranges()[0].first != set.ranges()[0].last) return std::nullopt;
    return set.ranges()[0].first;
  }

  // One character, or a class behind a backslash.
  absl::StatusOr<CodePointSet> ParseCharacter() {
    if (!Take('\\')) {
      const Utf8Step step = ReadUtf8(text_.substr(at_));
      at_ += step.bytes;
      return CodePointSet::Of(step.code_point);
    }
    if (AtEnd()) return Unexpected();
    const char c = text_[at_++];
    if (std::optional<CodePointSet> set = ClassOf(c)) return *std::move(set);
    constexpr std::string_view kLetters = "tnrfv0";
    constexpr std::string_view kControls("\t\n\r\f\v\0", 6);
    if (const size_t i = kLetters.find(c); i != kLetters.npos && !(c == '0' && absl::ascii_isdigit(Peek()))) {
      return CodePointSet::Of(static_cast<char32_t>(kControls[i]));
    }
    if (c == 'x') return ParseHex(2);
    if (c == 'u') return Peek() == '{' ? ParseBracedHex() : ParseHex(4);
    if (absl::ascii_ispunct(c)) return CodePointSet::Of(static_cast<char32_t>(c));
    --at_;
    return Error(Concat("\\", text_.substr(at_, 1), " is not supported"));
  }

  absl::StatusOr<CodePointSet> ParseBracedHex() {
    const size_t end = text_.find('}', at_);
    if (end == text_.npos || end - at_ < 2 || end - at_ > 9)
      return Error("expected hexadecimal digits in braces");
    ++at_;
    absl::StatusOr<CodePointSet> set = ParseHex(end - at_);
    if (set.ok()) ++at_;
    return set;
  }

  absl::StatusOr<CodePointSet> ParseHex(size_t digits) {
    const absl::StatusOr<char32_t> character = ReadHexCodePoint(text_.substr(at_), digits);
    if (!character.ok()) return Error(ToStdView(character.status().message()));
    at_ += digits;
    return CodePointSet::Of(*character);
  }

  const std::string_view text_;
  TextLanguages& languages_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<TextLanguages::Expression> ParseTextPattern(std::string_view pattern,
                                                           TextLanguages& languages) {
  return PatternParser(pattern, languages).Parse();
}

}  // namespace memgate
