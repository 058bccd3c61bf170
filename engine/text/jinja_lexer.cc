#include "engine/text/jinja_lexer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate::jinja {
namespace {

// All line breaks become "\n", and one at the end goes.
std::string NormalizeLineBreaks(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool IsNameStart(unsigned char c) { return absl::ascii_isalpha(c) || c == '_' || c >= 0x80; }
bool IsNameByte(unsigned char c) { return IsNameStart(c) || absl::ascii_isdigit(c); }

// Python's escapes in a string literal; an unknown one stays as it is.
std::string Unescape(std::string_view text) {
  std::string out;
  size_t i = 0;
  const auto hex = [&](size_t digits) -> bool {
    char32_t code = 0;
    for (size_t k = 0; k < digits; ++k) {
      if (i + 2 + k >= text.size() || !absl::ascii_isxdigit(text[i + 2 + k])) return false;
      const char c = absl::ascii_tolower(text[i + 2 + k]);
      code = code * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    AppendUtf8(code, out);
    i += 2 + digits;
    return true;
  };
  while (i < text.size()) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i++];
      continue;
    }
    const char c = text[i + 1];
    constexpr std::string_view kLetters = "nrtbfav\\'\"0";
    constexpr std::string_view kMeanings("\n\r\t\b\f\a\v\\'\"\0", 11);
    if (const size_t at = kLetters.find(c); at != std::string_view::npos) {
      out += kMeanings[at];
      i += 2;
    } else if (c == '\n') {
      i += 2;
    } else if (!((c == 'x' && hex(2)) || (c == 'u' && hex(4)) || (c == 'U' && hex(8)))) {
      out.append(text.substr(i, 2));
      i += 2;
    }
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeLineBreaks(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (status_.ok() && at_ < source_.size()) LexTextAndTag();
    if (!status_.ok()) return status_;
    Add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  enum class Tag { kPrint, kBlock, kComment };

  std::string_view Rest() const { return std::string_view(source_).substr(at_); }
  bool Sees(std::string_view text) const { return Rest().starts_with(text); }

  void Add(TokenType type, std::string text) { tokens_.push_back({type, std::move(text), line_}); }
  void Skip(size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + at_, source_.begin() + at_ + bytes, '\n'));
    at_ += bytes;
  }
  void SkipSpace() { Skip(LeadingSpaceBytes(Rest())); }
  void Fail(int line, std::string_view message) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(Concat("template line ", line, ": ", message));
    at_ = source_.size();
  }

  // The next tag of any kind, or npos.
  size_t FindTag() const {
    for (size_t brace = source_.find('{', at_); brace != std::string::npos;
         brace = source_.find('{', brace + 1)) {
      if (brace + 1 == source_.size()) break;
      const char next = source_[brace + 1];
      if (next == '{' || next == '%' || next == '#') return brace;
    }
    return std::string::npos;
  }

  void LexTextAndTag() {
    const size_t tag_at = std::min(FindTag(), source_.size());
    const bool has_tag = tag_at < source_.size();
    std::string_view text = std::string_view(source_).substr(at_, tag_at - at_);
    if (has_tag) {
      const char sign = tag_at + 2 < source_.size() ? source_[tag_at + 2] : '\0';
      text = StripBeforeTag(text, source_[tag_at + 1], sign);
    }
    if (!text.empty()) Add(TokenType::kText, std::string(text));
    Skip(tag_at - at_);
    if (!has_tag) return;
    const char kind = source_[at_ + 1];
    Skip(2);
    if (Sees("-") || Sees("+")) Skip(1);
    if (kind == '#') {
      LexComment();
    } else if (kind == '%') {
      LexBlock();
    } else {
      LexTag(TokenType::kPrintBegin, TokenType::kPrintEnd, "}}");
    }
  }

  std::string_view StripBeforeTag(std::string_view text, char kind, char sign) const {
    if (sign == '-') return text.substr(0, text.size() - TrailingSpaceBytes(text));
    if (sign == '+' || kind == '{') return text;
    const size_t line_break = text.rfind('\n');
    if (line_break == std::string_view::npos && !at_line_start_) return text;
    const size_t line_start = line_break == std::string_view::npos ? 0 : line_break + 1;
    const std::string_view indent = text.substr(line_start);
    return LeadingSpaceBytes(indent) == indent.size() ? text.substr(0, line_start) : text;
  }

  // Consumes the end of a tag, with what its sign and trim_blocks take after it.
  void SkipTagEnd(std::string_view end, bool trims_line_break) {
    const size_t before = at_;
    if (Sees("-")) {
      Skip(1 + end.size());
      SkipSpace();
    } else if (Sees("+")) {
      Skip(1 + end.size());
    } else {
      Skip(end.size());
      if (trims_line_break && Sees("\n")) Skip(1);
    }
    at_line_start_ = at_ > before && source_[at_ - 1] == '\n';
  }

  bool SeesTagEnd(std::string_view end) const {
    if (Sees(end)) return true;
    if (!Sees("-") && !(Sees("+") && end == "%}")) return false;
    return Rest().substr(1).starts_with(end);
  }

  void LexComment() {
    const int line = line_;
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) return Fail(line, "comment without \"#}\"");
    const bool signed_end = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
    Skip(end - at_ - (signed_end ? 1 : 0));
    SkipTagEnd("#}", true);
  }

  void LexBlock() {
    const size_t saved = at_;
    const int saved_line = line_;
    SkipSpace();
    if (Sees("raw")) {
      Skip(3);
      SkipSpace();
      if (SeesTagEnd("%}")) return LexRaw();
    }
    at_ = saved;
    line_ = saved_line;
    LexTag(TokenType::kBlockBegin, TokenType::kBlockEnd, "%}");
  }

  // "{% raw %}" up to "{% endraw %}" is text. The line break after the opening tag stays.
  void LexRaw() {
    const int line = line_;
    SkipTagEnd("%}", false);
    for (size_t open = source_.find("{%", at_); open != std::string::npos;
         open = source_.find("{%", open + 2)) {
      const std::string_view body = std::string_view(source_).substr(at_, open - at_);
      size_t name = open + 2;
      const char sign = name < source_.size() ? source_[name] : '\0';
      if (sign == '-' || sign == '+') ++name;
      name += LeadingSpaceBytes(std::string_view(source_).substr(name));
      if (source_.compare(name, 6, "endraw") != 0) continue;
      const size_t end = name + 6 + LeadingSpaceBytes(std::string_view(source_).substr(name + 6));
      const std::string_view stripped = StripBeforeTag(body, '%', sign);
      if (!stripped.empty()) Add(TokenType::kText, std::string(stripped));
      Skip(end - at_);
      if (!SeesTagEnd("%}")) return Fail(line_, "expected \"%}\" after endraw");
      SkipTagEnd("%}", true);
      return;
    }
    Fail(line, "raw block without \"endraw\"");
  }

  void LexTag(TokenType begin, TokenType end_type, std::string_view end) {
    const int line = line_;
    Add(begin, "");
    int open_brackets = 0;  // inside brackets "}}" closes two dicts
    while (status_.ok()) {
      SkipSpace();
      if (at_ == source_.size()) return Fail(line, Concat("tag without \"", end, "\""));
      if (open_brackets == 0 && SeesTagEnd(end)) {
        Add(end_type, "");
        SkipTagEnd(end, end_type == TokenType::kBlockEnd);
        return;
      }
      const char c = source_[at_];
      if (c == '(' || c == '[' || c == '{') ++open_brackets;
      if ((c == ')' || c == ']' || c == '}') && open_brackets > 0) --open_brackets;
      LexOne(c);
    }
  }

  void LexOne(char c) {
    const std::string_view rest = Rest();
    if (IsNameStart(static_cast<unsigned char>(c))) {
      size_t size = 1;
      while (size < rest.size() && IsNameByte(static_cast<unsigned char>(rest[size]))) ++size;
      Add(TokenType::kName, std::string(rest.substr(0, size)));
      Skip(size);
    } else if (absl::ascii_isdigit(c)) {
      LexNumber(rest);
    } else if (c == '"' || c == '\'') {
      size_t size = 1;
      while (size < rest.size() && rest[size] != c) size += rest[size] == '\\' ? 2 : 1;
      if (size >= rest.size()) return Fail(line_, "string without closing quote");
      Add(TokenType::kString, Unescape(rest.substr(1, size - 1)));
      Skip(size + 1);
    } else {
      for (const std::string_view op : {"//", "**", "==", "!=", ">=", "<="}) {
        if (!rest.starts_with(op)) continue;
        Add(TokenType::kOperator, std::string(op));
        return Skip(op.size());
      }
      if (std::string_view("+-/*%~[](){}<>=.:|,").find(c) == std::string_view::npos) {
        return Fail(line_, Concat("unexpected character ", Quoted(rest.substr(0, ReadUtf8(rest).bytes))));
      }
      Add(TokenType::kOperator, std::string(1, c));
      Skip(1);
    }
  }

  void LexNumber(std::string_view rest) {
    size_t size = 0;
    const auto digits = [&] {
      while (size < rest.size() && (absl::ascii_isdigit(rest[size]) || rest[size] == '_')) ++size;
    };
    digits();
    TokenType type = TokenType::kInteger;
    if (size + 1 < rest.size() && rest[size] == '.' && absl::ascii_isdigit(rest[size + 1])) {
      type = TokenType::kFloat;
      ++size;
      digits();
    }
    size_t exponent = size;
    if (exponent < rest.size() && (rest[exponent] == 'e' || rest[exponent] == 'E')) {
      ++exponent;
      if (exponent < rest.size() && (rest[exponent] == '-' || rest[exponent] == '+')) ++exponent;
      if (exponent < rest.size() && absl::ascii_isdigit(rest[exponent])) {
        type = TokenType::kFloat;
        size = exponent;
        digits();
      }
    }
    std::string text(rest.substr(0, size));
    std::erase(text, '_');
    Add(type, text);
    Skip(size);
  }

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool at_line_start_ = true;  // the text at at_ starts a line
  std::vector<Token> tokens_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) {
  if (absl::Status status = CheckUtf8(source); !status.ok()) return status;
  return Lexer(source).Run();
}

}  // namespace memgate::jinja
