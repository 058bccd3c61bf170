// From Oniguruma's syntax to PCRE2's.
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "engine/text/regex.h"
#include "engine/text/strings.h"

namespace memgate {
namespace {

// A letter after a backslash that means another set of characters in PCRE2.
struct SetEscape {
  char letter;               // the capital letter means all other characters
  std::string_view members;  // as they are listed in a class
  std::string_view others;   // the same for the capital letter
};

// PCRE2's own \s has U+180E, which is no white space since Unicode 6.3; its \w lacks marks and has numbers
// that are no digits. Its \W within a class keeps the marks. \p{Zl} is last because a hyphen after it is no
// range.
constexpr SetEscape kSetEscapes[] = {
    {'s', R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2029}\x{202F}\x{205F}\x{3000}\p{Zl})",
     R"(\S\x{180E})"},
    {'w', R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})", R"(\W\p{No})"},
    {'h', "0-9A-Fa-f", R"(\x{0}-/:-@G-`g-\x{10FFFF})"},
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (!rest_.empty()) {
      if (rest_.size() >= 2 && rest_[0] == '\\') {
        Escape();
      } else if (depth_ > 0) {
        if (absl::Status status = InClass(); !status.ok()) return status;
      } else if (rest_[0] == '[') {
        OpenClass();
      } else {
        Copy(1);
      }
    }
    return out_;
  }

 private:
  void Copy(size_t bytes) {
    out_ += rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
  }

  // The bracket with what may follow it without its usual meaning: "^", and then "]".
  void OpenClass() {
    ++depth_;
    size_t bytes = 1;
    if (rest_.substr(bytes).starts_with('^')) ++bytes;
    if (rest_.substr(bytes).starts_with(']')) ++bytes;
    Copy(bytes);
  }

  void Escape() {
    for (const SetEscape& escape : kSetEscapes) {
      const bool capital = rest_[1] == absl::ascii_toupper(static_cast<unsigned char>(escape.letter));
      if (!capital && rest_[1] != escape.letter) continue;
      if (depth_ == 0) {
        out_ += Concat(capital ? "[^" : "[", escape.members, "]");
      } else {
        out_ += capital ? escape.others : escape.members;
      }
      rest_.remove_prefix(2);
      return;
    }
    Copy(2);
  }

  absl::Status InClass() {
    if (rest_.starts_with("[:")) {  // a POSIX class, up to ":]"
      const size_t end = rest_.find(":]", 2);
      Copy(end == std::string_view::npos ? rest_.size() : end + 2);
    } else if (rest_.starts_with("[^")) {
      return absl::UnimplementedError("a negated class within a class");
    } else if (rest_.starts_with("&&")) {
      return absl::UnimplementedError("an intersection of classes");
    } else if (rest_[0] == '[') {  // the union of two classes
      ++depth_;
      rest_.remove_prefix(1);
    } else if (rest_[0] == ']') {
      if (--depth_ == 0) out_ += ']';
      rest_.remove_prefix(1);
    } else {
      Copy(1);
    }
    return absl::OkStatus();
  }

  std::string_view rest_;
  std::string out_;
  int depth_ = 0;  // of classes within classes
};

}  // namespace

absl::StatusOr<std::string> ToPcre2Syntax(std::string_view pattern) { return Translator(pattern).Run(); }

std::string EscapeRegex(std::string_view literal) {
  std::string pattern;
  for (const char c : literal) {
    // A backslash before any ASCII punctuation means "this character itself".
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && !absl::ascii_isalnum(byte) && c != '\0') pattern.push_back('\\');
    pattern.push_back(c);
  }
  return pattern;
}

}  // namespace memgate
