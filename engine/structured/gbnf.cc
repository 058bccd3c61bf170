#include "engine/structured/gbnf.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "engine/structured/code_points.h"
#include "engine/structured/compile_budget.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxRepeatMarks = 8;
constexpr int64_t kMaxRepeats = 100'000;

bool IsNameCharacter(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; }

// An expression as it was read. Networks are built backwards, so all of a rule is read first.
struct Expression;
using Sequence = std::vector<Expression>;

struct Expression {
  enum class Kind { kLiteral, kCharacters, kRule, kGroup };
  Kind kind = Kind::kLiteral;
  int32_t number = 0;             // of its literal, set of characters or rule
  std::vector<Sequence> choices;  // of a group
  int64_t min = 1, max = 1;       // repetitions; max < 0 = any number
};

// Reads rule by rule and defines each at once.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), builder_(budget_) {}

  absl::StatusOr<Grammar> Parse() {
    if (absl::Status status = CheckUtf8(text_); !status.ok()) return status;
    SkipBlanksAndLines();
    while (!AtEnd()) {
      if (absl::Status status = ParseRule(); !status.ok()) return status;
      SkipBlanksAndLines();
    }
    for (const auto& [name, rule] : rules_) {
      if (rule.defined) continue;
      at_ = rule.first_use;
      return Error(Concat("rule ", Quoted(name), " is used but not defined"));
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) return absl::InvalidArgumentError("there is no rule \"root\"");
    return std::move(builder_).Build(root->second.number);
  }

 private:
  struct Rule {
    GrammarRule number = 0;
    bool defined = false;
    size_t first_use = 0;
  };

  bool AtEnd() const { return at_ >= text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[at_]; }
  bool Take(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }

  absl::Status Error(std::string_view what) const {
    const std::string_view before = text_.substr(0, std::min(at_, text_.size()));
    const size_t line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
    const size_t column =
        before.size() - (before.rfind('\n') == before.npos ? 0 : before.rfind('\n') + 1) + 1;
    return absl::InvalidArgumentError(Concat("line ", line, ", column ", column, ": ", what));
  }

  void SkipBlanks() {
    while (!AtEnd() && (Peek() == ' ' || Peek() == '\t')) ++at_;
    if (Peek() == '#') at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
  }
  void SkipBlanksAndLines() {
    for (SkipBlanks(); Peek() == '\n' || Peek() == '\r'; SkipBlanks()) ++at_;
  }
  // Whether an alternative follows, on this line or at the beginning of a later one.
  bool TakeBar(bool in_brackets) {
    const size_t before = at_;
    SkipBlanksAndLines();
    if (Take("|")) {
      SkipBlanksAndLines();
      return true;
    }
    if (!in_brackets) at_ = before;
    return false;
  }

  Rule& RuleNamed(std::string_view name, size_t place) {
    const auto [entry, is_new] = rules_.try_emplace(std::string(name));
    if (is_new) entry->second = {builder_.AddRule(std::string(name)), false, place};
    return entry->second;
  }

  std::string_view TakeName() {
    const size_t begin = at_;
    while (!AtEnd() && IsNameCharacter(Peek())) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  absl::Status ParseRule() {
    const size_t place = at_;
    const std::string_view name = TakeName();
    if (name.empty()) return Error("expected the name of a rule");
    Rule& rule = RuleNamed(name, place);
    if (rule.defined) return Error(Concat("rule ", Quoted(name), " is defined a second time"));
    rule.defined = true;
    const GrammarRule number = rule.number;
    SkipBlanks();
    if (!Take("::=")) return Error("expected \"::=\"");
    SkipBlanksAndLines();
    auto choices = ParseChoices(0);
    if (!choices.ok()) return choices.status();
    SkipBlanks();
    if (!AtEnd() && Peek() != '\n' && Peek() != '\r') return Error("expected the end of the rule");
    builder_.Define(number, BuildChoices(*choices, builder_.End()));
    literals_.clear();
    const absl::Status size = builder_.Check();
    return size.ok() ? size : Error(Concat("the grammar ", ToStdView(size.message())));
  }

  absl::StatusOr<std::vector<Sequence>> ParseChoices(int depth) {
    if (depth > kMaxDepth) return Error(Concat("more than ", kMaxDepth, " open brackets"));
    std::vector<Sequence> choices;
    do {
      absl::StatusOr<Sequence> sequence = ParseSequence(depth);
      if (!sequence.ok()) return sequence.status();
      choices.push_back(*std::move(sequence));
    } while (TakeBar(depth > 0));
    return choices;
  }

  absl::StatusOr<Sequence> ParseSequence(int depth) {
    Sequence sequence;
    while (true) {
      const size_t before = at_;
      SkipBetweenParts(depth);
      const char c = Peek();
      if (AtEnd() || c == '|' || c == ')' || c == '\n' || c == '\r') {
        at_ = before;
        return sequence;
      }
      absl::StatusOr<Expression> expression = ParseExpression(depth);
      if (!expression.ok()) return expression.status();
      if (absl::Status status = ParseRepeats(depth, *expression); !status.ok()) return status;
      budget_.Step();
      budget_.Hold(static_cast<int64_t>(2 * sizeof(Expression)));  // in a vector that grows
      if (budget_.spent()) return Error(Concat("the grammar ", ToStdView(budget_.Check().message())));
      sequence.push_back(*std::move(expression));
    }
  }

  absl::StatusOr<Expression> ParseExpression(int depth) {
    Expression expression;
    if (Take("\"")) {
      return ParseLiteral();
    } else if (Take("[")) {
      return ParseClass();
    } else if (Take(".")) {
      return Characters(CodePointSet::All());
    } else if (Take("(")) {
      absl::StatusOr<std::vector<Sequence>> choices = ParseChoices(depth + 1);
      if (!choices.ok()) return choices.status();
      if (!Take(")")) return Error("expected \")\"");
      expression.kind = Expression::Kind::kGroup;
      expression.choices = *std::move(choices);
    } else if (IsNameCharacter(Peek())) {
      expression.kind = Expression::Kind::kRule;
      const size_t place = at_;
      const std::string_view name = TakeName();
      expression.number = RuleNamed(name, place).number;
    } else {
      return Error("expected a text in quotes, a class, a rule or \"(\"");
    }
    return expression;
  }

  absl::StatusOr<Expression> ParseLiteral() {
    std::string literal;
    while (!Take("\"")) {
      absl::StatusOr<char32_t> character = ParseCharacter();
      if (!character.ok()) return character.status();
      AppendUtf8(*character, literal);
    }
    Expression expression;
    expression.number = static_cast<int32_t>(literals_.size());
    literals_.push_back(std::move(literal));
    return expression;
  }

  Expression Characters(const CodePointSet& set) {
    budget_.Step(static_cast<int64_t>(set.ranges().size()));
    const auto [entry, is_new] = set_numbers_.try_emplace(set, static_cast<int32_t>(sets_.size()));
    if (is_new) {
      constexpr size_t kSetBytes = 160;  // and its places in the tables
      budget_.Hold(static_cast<int64_t>(kSetBytes + 2 * sizeof(CodePointRange) * set.ranges().size()));
      sets_.push_back({set, std::nullopt});
    }
    Expression expression;
    expression.kind = Expression::Kind::kCharacters;
    expression.number = entry->second;
    return expression;
  }

  absl::StatusOr<Expression> ParseClass() {
    const bool negated = Take("^");
    std::vector<CodePointRange> ranges;
    while (!Take("]")) {
      absl::StatusOr<char32_t> first = ParseCharacter();
      if (!first.ok()) return first.status();
      absl::StatusOr<char32_t> last = *first;
      if (Peek() == '-' && !text_.substr(at_).starts_with("-]")) {
        ++at_;
        last = ParseCharacter();
        if (!last.ok()) return last.status();
      }
      if (*last < *first) return Error("the range of characters runs backwards");
      ranges.push_back({*first, *last});
    }
    const CodePointSet set(std::move(ranges));
    return Characters(negated ? set.Complement() : set);
  }

  // One character of a text or class.
  absl::StatusOr<char32_t> ParseCharacter() {
    if (AtEnd() || Peek() == '\n' || Peek() == '\r') return Error("a text or class does not end in its line");
    if (!Take("\\")) {
      const Utf8Step step = ReadUtf8(text_.substr(at_));
      at_ += step.bytes;
      return step.code_point;
    }
    const char c = Peek();
    ++at_;
    switch (c) {
      case 'n':
        return U'\n';
      case 'r':
        return U'\r';
      case 't':
        return U'\t';
      case '\\':
      case '"':
      case '\'':
      case '[':
      case ']':
      case '-':
      case '^':
        return static_cast<char32_t>(c);
      case 'x':
        return ParseHex(2);
      case 'u':
        return ParseHex(4);
      case 'U':
        return ParseHex(8);
      default:
        --at_;
        return Error("unknown escape");
    }
  }

  absl::StatusOr<char32_t> ParseHex(size_t digits) {
    const absl::StatusOr<char32_t> character = ReadHexCodePoint(text_.substr(at_), digits);
    if (!character.ok()) return Error(ToStdView(character.status().message()));
    at_ += digits;
    return character;
  }

  void SkipBetweenParts(int depth) { depth > 0 ? SkipBlanksAndLines() : SkipBlanks(); }

  // Blanks may stand before a mark, like between parts.
  absl::Status ParseRepeats(int depth, Expression& expression) {
    const auto repeat = [&expression](int64_t min, int64_t max) {
      // What is repeated may be repeated itself: (x{2}){3} and x{2}{3} are the same.
      if (expression.min != 1 || expression.max != 1) {
        Expression group;
        group.kind = Expression::Kind::kGroup;
        group.choices.push_back({std::move(expression)});
        expression = std::move(group);
      }
      expression.min = min;
      expression.max = max;
    };
    for (int i = 0;; ++i) {
      if (i > kMaxRepeatMarks) return Error("too many repetitions of a repetition");
      const size_t before = at_;
      SkipBetweenParts(depth);
      if (Take("*")) {
        repeat(0, -1);
      } else if (Take("+")) {
        repeat(1, -1);
      } else if (Take("?")) {
        repeat(0, 1);
      } else if (Take("{")) {
        absl::StatusOr<std::pair<int64_t, int64_t>> counts = ParseCounts();
        if (!counts.ok()) return counts.status();
        repeat(counts->first, counts->second);
      } else {
        at_ = before;
        return absl::OkStatus();
      }
    }
  }

  absl::StatusOr<std::pair<int64_t, int64_t>> ParseCounts() {
    SkipBlanks();
    absl::StatusOr<std::optional<int64_t>> min = ParseCount();
    if (!min.ok()) return min.status();
    absl::StatusOr<std::optional<int64_t>> max = *min;
    if (Take(",")) {
      SkipBlanks();
      max = ParseCount();
      if (!max.ok()) return max.status();
      if (!min->has_value() && !max->has_value()) return Error("expected a number");
    } else if (!min->has_value()) {
      return Error("expected a number");
    }
    if (!Take("}")) return Error("expected \"}\"");
    const std::pair<int64_t, int64_t> counts = {min->value_or(0), max->value_or(-1)};
    if (counts.second >= 0 && counts.second < counts.first) return Error("at most fewer than at least");
    return counts;
  }

  absl::StatusOr<std::optional<int64_t>> ParseCount() {
    const size_t begin = at_;
    while (absl::ascii_isdigit(Peek())) ++at_;
    if (at_ == begin) return std::optional<int64_t>();
    int64_t count = 0;
    if (!absl::SimpleAtoi(ToAbsl(text_.substr(begin, at_ - begin)), &count) || count > kMaxRepeats) {
      return Error(Concat("a number of repetitions is above ", kMaxRepeats));
    }
    SkipBlanks();
    return std::optional<int64_t>(count);
  }

  GrammarNode BuildChoices(const std::vector<Sequence>& choices, GrammarNode next) {
    std::vector<GrammarNode> starts;
    for (const Sequence& sequence : choices) {
      GrammarNode at = next;
      for (auto part = sequence.rbegin(); part != sequence.rend(); ++part) at = BuildRepeated(*part, at);
      starts.push_back(at);
    }
    return builder_.Choice(starts);
  }

  GrammarNode BuildRepeated(const Expression& expression, GrammarNode next) {
    budget_.Step();
    if (builder_.full()) return next;
    return builder_.Repeat([&](GrammarNode after) { return BuildOnce(expression, after); }, expression.min,
                           expression.max, next);
  }

  GrammarNode BuildOnce(const Expression& expression, GrammarNode next) {
    switch (expression.kind) {
      case Expression::Kind::kLiteral:
        return builder_.Literal(literals_[expression.number], next);
      case Expression::Kind::kCharacters:
        return BuildCharacters(sets_[expression.number], next);
      case Expression::Kind::kRule:
        return builder_.Call(expression.number, next);
      case Expression::Kind::kGroup:
        return BuildChoices(expression.choices, next);
    }
    return next;
  }

  struct CharacterSet {
    CodePointSet set;
    std::optional<GrammarRule> rule;  // once it was used, if it has one
  };

  // Sets that take many nodes are rules of their own, so that repeating them costs one node each.
  GrammarNode BuildCharacters(CharacterSet& characters, GrammarNode next) {
    constexpr size_t kFewRanges = 4;
    const CodePointSet& set = characters.set;
    if (set.ranges().size() <= kFewRanges && (set.empty() || set.ranges().back().last < 0x80)) {
      return builder_.Characters(set, next);
    }
    if (!characters.rule) {
      characters.rule = builder_.AddRule("class");
      builder_.Define(*characters.rule, builder_.Characters(set, builder_.End()));
    }
    return builder_.Call(*characters.rule, next);
  }

  const std::string_view text_;
  size_t at_ = 0;
  CompileBudget budget_;
  GrammarBuilder builder_;
  StringMap<Rule> rules_;
  std::vector<std::string> literals_;  // of the rule that is read
  std::vector<CharacterSet> sets_;
  absl::flat_hash_map<CodePointSet, int32_t> set_numbers_;
};

}  // namespace

absl::StatusOr<Grammar> ParseGbnf(std::string_view text) { return Parser(text).Parse(); }

}  // namespace memgate
