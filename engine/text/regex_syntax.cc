// From Oniguruma's syntax to PCRE2's.
#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "engine/text/regex.h"
#include "engine/text/strings.h"

namespace memgate {
namespace {

constexpr int kMaxClassNesting = 32;

// A letter after a backslash that means another set of characters in PCRE2.
struct SetEscape {
  char letter;               // the capital letter means all other characters
  std::string_view members;  // as they are listed in a class
  std::string_view others;   // the same for the capital letter; empty: they cannot be listed
};

// PCRE2's own \s has U+180E, which is no white space since Unicode 6.3; its \w lacks marks and has numbers
// that are no digits. A hyphen after \p{Zl} or \S is no range.
constexpr SetEscape kSetEscapes[] = {
    {'s', R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2029}\x{202F}\x{205F}\x{3000}\p{Zl})",
     R"(\x{180E}\S)"},
    {'w', R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})", ""},
    {'h', "0-9A-Fa-f", R"(\x{0}-/:-@G-`g-\x{10FFFF})"},
};

// What a word character is outside a class, too: Oniguruma takes those below U+0100 from another table there.
constexpr std::string_view kWordOutsideClasses = R"(\xB2\xB3\xB9\xBC-\xBE)";

// [:name:]. To PCRE2 these have fewer or other characters.
struct PosixClass {
  std::string_view name;
  std::string_view members;
};
constexpr PosixClass kPosixClasses[] = {{"alpha", R"(\p{Alphabetic})"},  {"alnum", R"(\p{Alphabetic}\p{Nd})"},
                                        {"lower", R"(\p{Lowercase})"},   {"upper", R"(\p{Uppercase})"},
                                        {"punct", R"(\p{P})"},           {"space", kSetEscapes[0].members},
                                        {"word", kSetEscapes[1].members}};

const SetEscape* FindSetEscape(char letter) {
  for (const SetEscape& escape : kSetEscapes) {
    if (absl::ascii_tolower(static_cast<unsigned char>(letter)) == escape.letter) return &escape;
  }
  return nullptr;
}

bool IsCapital(char letter) { return absl::ascii_isupper(static_cast<unsigned char>(letter)); }

// The escape at the start of `text` as PCRE2 spells it, and its length; none for those that mean the same.
struct Escape {
  size_t bytes = 0;
  std::string spelling;
};
std::optional<Escape> FindCharacterEscape(std::string_view text) {
  if (text.starts_with("\\v")) return Escape{2, "\\x0B"};  // to PCRE2 a set of line breaks
  constexpr size_t kUnicodeEscapeBytes = 6;                // \u4E00
  if (text.starts_with("\\u") && text.size() >= kUnicodeEscapeBytes) {
    return Escape{kUnicodeEscapeBytes, Concat("\\x{", text.substr(2, 4), "}")};
  }
  return std::nullopt;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (!rest_.empty()) {
      if (rest_[0] == '[') {
        absl::StatusOr<std::string> matcher = Class(0);
        if (!matcher.ok()) return matcher.status();
        Atom(*matcher);
      } else if (rest_[0] == '\\') {
        OutsideEscape();
      } else if (rest_[0] == '(') {
        OpenGroup();
      } else if (rest_[0] == ')') {
        atom_ = groups_.empty() ? out_.size() : groups_.back();
        if (!groups_.empty()) groups_.pop_back();
        Copy(1);
      } else if (!Interval()) {
        constexpr std::string_view kQuantifiersAndPlaces = "*+?|^$";
        const bool inside_character = (static_cast<unsigned char>(rest_[0]) & 0xC0) == 0x80;
        if (!inside_character && kQuantifiersAndPlaces.find(rest_[0]) == std::string_view::npos) {
          atom_ = out_.size();
        }
        Copy(1);
      }
    }
    return out_;
  }

 private:
  void Copy(size_t bytes) {
    bytes = std::min(bytes, rest_.size());
    out_ += rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
  }
  void Atom(std::string_view matcher) {
    atom_ = out_.size();
    out_ += matcher;
  }

  // To Oniguruma (?m) says what (?s) says to PCRE2.
  void OpenGroup() {
    groups_.push_back(out_.size());
    Copy(1);
    if (!rest_.starts_with('?')) return;
    if (rest_.starts_with("?#")) return Copy(rest_.find(')'));  // a comment
    const size_t end = rest_.find_first_not_of("imx-", 1);
    if (end == 1 || end == std::string_view::npos || (rest_[end] != ':' && rest_[end] != ')')) return;
    for (const char flag : rest_.substr(0, end)) out_.push_back(flag == 'm' ? 's' : flag);
    rest_.remove_prefix(end);
  }

  // {n,m}: not possessive with a plus sign behind it, without n from 0 on; and {n}? is optional.
  bool Interval() {
    if (rest_[0] != '{') return false;
    const size_t end = rest_.find('}');
    if (end == std::string_view::npos) return false;
    const std::string_view counts = rest_.substr(1, end - 1);
    const bool known =
        !counts.empty() && counts != "," && counts.find_first_not_of("0123456789,") == std::string_view::npos;
    if (!known) return false;
    const std::string_view next = rest_.substr(end + 1, 1);
    const bool fixed = counts.find(',') == std::string_view::npos;
    const bool repeated = next == "+" || (fixed && next == "?");
    if (repeated) out_.insert(atom_, "(?:");
    out_ += Concat("{", counts.starts_with(',') ? "0" : "", counts, "}", repeated ? ")" : "");
    rest_.remove_prefix(end + 1);
    return true;
  }

  void OutsideEscape() {
    const char letter = rest_.size() < 2 ? '\0' : rest_[1];
    if (const SetEscape* set = FindSetEscape(letter)) {
      const std::string_view more = set->letter == 'w' ? kWordOutsideClasses : "";
      Atom(Concat(IsCapital(letter) ? "[^" : "[", set->members, more, "]"));
      rest_.remove_prefix(2);
    } else if (letter == 'b' || letter == 'B') {  // between a word character and another one, or not
      const std::string word = Concat("[", FindSetEscape('w')->members, kWordOutsideClasses, "]");
      const bool boundary = letter == 'b';
      Atom(Concat("(?:(?<=", word, boundary ? ")(?!" : ")(?=", word, ")|(?<!", word,
                  boundary ? ")(?=" : ")(?!", word, "))"));
      rest_.remove_prefix(2);
    } else if (const std::optional<Escape> escape = FindCharacterEscape(rest_)) {
      Atom(escape->spelling);
      rest_.remove_prefix(escape->bytes);
    } else {
      CopyEscape();
    }
  }

  // One that means the same, with the name or number that belongs to it.
  void CopyEscape() {
    atom_ = out_.size();
    const char letter = rest_.size() < 2 ? '\0' : rest_[1];
    size_t bytes = 2;
    if (letter == 'p' || letter == 'P' || letter == 'x') {
      const size_t brace = rest_.substr(2).starts_with('{') ? rest_.find('}') : std::string_view::npos;
      const size_t short_form = letter == 'x' ? 4 : 3;  // \x0A, \pL
      bytes = brace == std::string_view::npos ? short_form : brace + 1;
    }
    Copy(bytes);
  }

  // What a class has between two "&&": characters and ranges as PCRE2 lists them, and expressions that match
  // one character, for what cannot be listed.
  struct Union {
    std::string listed;
    std::vector<std::string> matchers;
  };

  // An expression that matches one character, from '[' on.
  absl::StatusOr<std::string> Class(int depth) {
    if (depth > kMaxClassNesting) return absl::InvalidArgumentError("classes are nested too deep");
    rest_.remove_prefix(1);
    const bool negated = rest_.starts_with('^');
    if (negated) rest_.remove_prefix(1);
    std::vector<Union> parts(1);
    if (rest_.starts_with(']')) {  // the bracket itself
      parts.back().listed = "\\]";
      rest_.remove_prefix(1);
    }
    while (!rest_.starts_with(']')) {
      if (rest_.empty()) return absl::InvalidArgumentError("a class without its end");
      if (rest_.starts_with("&&")) {
        rest_.remove_prefix(2);
        parts.emplace_back();
      } else if (absl::Status status = ClassItem(depth, parts.back()); !status.ok()) {
        return status;
      }
    }
    rest_.remove_prefix(1);
    return Joined(parts, negated);
  }

  absl::Status ClassItem(int depth, Union& part) {
    if (const size_t bytes = PosixClassBytes(); bytes > 0) {
      AddPosixClass(bytes, part);
    } else if (rest_[0] == '[') {
      absl::StatusOr<std::string> inner = Class(depth + 1);
      if (!inner.ok()) return inner.status();
      AddClass(*inner, part);
    } else if (rest_[0] == '\\') {
      ClassEscape(part);
    } else {
      AddListed(1, part);
    }
    return absl::OkStatus();
  }

  // A plain class is listed, so that [a[bc]] becomes one class, unless a hyphen would then make a range.
  void AddClass(std::string_view matcher, Union& part) const {
    const bool plain = matcher.starts_with('[') && !matcher.starts_with("[^");
    const bool at_hyphen = matcher.starts_with("[-") || part.listed.ends_with('-') || rest_.starts_with('-');
    if (plain && !at_hyphen) {
      part.listed += matcher.substr(1, matcher.size() - 2);
    } else {
      part.matchers.emplace_back(matcher);
    }
  }

  // Of "[:alpha:]" at the start of what is left; 0 if there is none.
  size_t PosixClassBytes() const {
    if (!rest_.starts_with("[:")) return 0;
    const size_t end = rest_.find_first_not_of("^abcdefghijklmnopqrstuvwxyz", 2);
    return end != std::string_view::npos && rest_.substr(end).starts_with(":]") ? end + 2 : 0;
  }

  void AddPosixClass(size_t bytes, Union& part) {
    std::string_view name = rest_.substr(2, bytes - 4);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    const auto known = std::find_if(std::begin(kPosixClasses), std::end(kPosixClasses),
                                    [&](const PosixClass& posix) { return posix.name == name; });
    if (known == std::end(kPosixClasses)) return AddListed(bytes, part);
    rest_.remove_prefix(bytes);
    if (negated) {
      part.matchers.push_back(Concat("[^", known->members, "]"));
    } else {
      part.listed += known->members;
    }
  }

  void ClassEscape(Union& part) {
    const char letter = rest_.size() < 2 ? '\0' : rest_[1];
    if (const SetEscape* set = FindSetEscape(letter)) {
      if (!IsCapital(letter)) {
        part.listed += set->members;
      } else if (!set->others.empty()) {
        part.listed += set->others;
      } else {
        part.matchers.push_back(Concat("[^", set->members, "]"));
      }
      rest_.remove_prefix(2);
    } else if (const std::optional<Escape> escape = FindCharacterEscape(rest_)) {
      part.listed += escape->spelling;
      rest_.remove_prefix(escape->bytes);
    } else {
      AddListed(std::min<size_t>(2, rest_.size()), part);
    }
  }

  void AddListed(size_t bytes, Union& part) {
    part.listed += rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
  }

  // Without what would have a meaning behind the bracket.
  static std::string ListOf(const Union& part) {
    const bool has_meaning = part.listed.find_first_of("^:.=") == 0;
    return Concat(has_meaning ? "\\" : "", part.listed);
  }

  static std::string MatcherOf(const Union& part) {
    if (part.matchers.empty()) return part.listed.empty() ? "(?!)" : Concat("[", ListOf(part), "]");
    std::string alternatives = part.listed.empty() ? "" : Concat("|[", ListOf(part), "]");
    for (const std::string& matcher : part.matchers) alternatives += Concat("|", matcher);
    return Concat("(?:", alternatives.substr(1), ")");
  }

  static std::string Joined(const std::vector<Union>& parts, bool negated) {
    const bool plain = parts.size() == 1 && parts[0].matchers.empty();
    if (plain) return Concat(negated ? "[^" : "[", ListOf(parts[0]), "]");
    std::string matcher;
    for (size_t i = 0; i + 1 < parts.size(); ++i) matcher += Concat("(?=", MatcherOf(parts[i]), ")");
    matcher += MatcherOf(parts.back());
    return negated ? Concat("(?:(?!", matcher, ")(?s:.))") : Concat("(?:", matcher, ")");
  }

  std::string_view rest_;
  std::string out_;
  size_t atom_ = 0;             // of out_: where what a quantifier would repeat begins
  std::vector<size_t> groups_;  // of out_: where the open groups begin
};

}  // namespace

absl::StatusOr<std::string> ToPcre2Syntax(std::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace memgate
