#include "engine/text/jinja_expression_parser.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/numbers.h"
#include "engine/text/jinja_builtins.h"
#include "engine/text/strings.h"

namespace memgate::jinja {
namespace {

// Each level of brackets takes about a dozen frames of this parser; each level of the tree a few of the
// evaluator.
constexpr int kMaxNesting = 64;
constexpr int kMaxDepth = 200;

template <typename... Exprs>
std::vector<ExprPtr> Operands(Exprs... exprs) {
  std::vector<ExprPtr> operands;
  (operands.push_back(std::move(exprs)), ...);
  return operands;
}

}  // namespace

const Token& ExpressionParser::Next() {
  const Token& token = tokens_[at_];
  if (token.type != TokenType::kEnd) ++at_;
  return token;
}

bool ExpressionParser::Sees(TokenType type, std::string_view text) const {
  return current().type == type && (text.empty() || current().text == text);
}

bool ExpressionParser::Take(TokenType type, std::string_view text) {
  if (!Sees(type, text)) return false;
  Next();
  return true;
}

void ExpressionParser::Expect(TokenType type, std::string_view text, std::string_view what) {
  if (!Take(type, text)) Fail(current().line, Concat("expected ", what));
}

std::string ExpressionParser::ExpectName(std::string_view what) {
  if (Sees(TokenType::kName)) return Next().text;
  Fail(current().line, Concat("expected ", what));
  return "";
}

void ExpressionParser::Fail(int line, std::string_view message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(Concat("template line ", line, ": ", message));
  at_ = tokens_.size() - 1;
}

void ExpressionParser::FailUnsupported(int line, std::string_view what) {
  if (status_.ok()) {
    status_ = absl::UnimplementedError(Concat("template line ", line, ": ", what, " is not supported"));
  }
  at_ = tokens_.size() - 1;
}

ExprPtr ExpressionParser::Make(ExprKind kind, int line, std::vector<ExprPtr> operands, std::string name) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  expr->operands = std::move(operands);
  expr->name = std::move(name);
  return Sealed(std::move(expr));
}

ExprPtr ExpressionParser::Sealed(ExprPtr expr) {
  const auto count = [&](const ExprPtr& child) {
    if (child != nullptr) expr->depth = std::max(expr->depth, child->depth + 1);
  };
  for (const ExprPtr& operand : expr->operands) count(operand);
  for (const ExprPtr& argument : expr->arguments.positional) count(argument);
  for (const auto& [name, argument] : expr->arguments.named) count(argument);
  if (expr->depth <= kMaxDepth) return expr;
  Fail(expr->line, Concat("expression nested deeper than ", kMaxDepth));
  return std::make_unique<Expr>();  // lets the tree grow no deeper
}

ExprPtr ExpressionParser::Checked(ExprPtr expr, bool known, std::string_view what) {
  if (known || failed()) return expr;
  const int line = expr->line;
  if (conditionals_ > 0) return Make(ExprKind::kFailure, line, {}, Concat(what, " is not supported"));
  FailUnsupported(line, what);
  return expr;
}

ExprPtr ExpressionParser::ParseExpression() {
  const int line = current().line;
  if (nesting_ >= kMaxNesting) {
    Fail(line, Concat("brackets nested deeper than ", kMaxNesting));
    return Make(ExprKind::kLiteral, line);
  }
  ++nesting_;
  ExprPtr expr = ParseOr();
  while (TakeName("if")) {
    ExprPtr condition = ParseOr();
    ExprPtr otherwise = TakeName("else") ? ParseExpression() : nullptr;
    expr = Make(ExprKind::kConditional, line,
                Operands(std::move(expr), std::move(condition), std::move(otherwise)));
  }
  --nesting_;
  return expr;
}

ExprPtr ExpressionParser::ParseTuple() {
  const int line = current().line;
  ExprPtr first = ParseExpression();
  if (!Sees(TokenType::kOperator, ",")) return first;
  std::vector<ExprPtr> items = Operands(std::move(first));
  while (TakeOperator(",")) {
    const bool ends = Sees(TokenType::kOperator, ")") || Sees(TokenType::kBlockEnd) ||
                      Sees(TokenType::kPrintEnd) || Sees(TokenType::kEnd);
    if (ends) break;
    items.push_back(ParseExpression());
  }
  return Make(ExprKind::kList, line, std::move(items));
}

ExprPtr ExpressionParser::ParseOr() {
  ExprPtr left = ParseAnd();
  while (Sees(TokenType::kName, "or")) {
    const int line = Next().line;
    left = Make(ExprKind::kOr, line, Operands(std::move(left), ParseAnd()));
  }
  return left;
}

ExprPtr ExpressionParser::ParseAnd() {
  ExprPtr left = ParseNot();
  while (Sees(TokenType::kName, "and")) {
    const int line = Next().line;
    left = Make(ExprKind::kAnd, line, Operands(std::move(left), ParseNot()));
  }
  return left;
}

ExprPtr ExpressionParser::ParseNot() {
  if (!Sees(TokenType::kName, "not")) return ParseComparison();
  std::vector<int> lines;  // "not not not x", without recursion
  while (Sees(TokenType::kName, "not")) lines.push_back(Next().line);
  ExprPtr expr = ParseComparison();
  for (; !lines.empty(); lines.pop_back()) {
    expr = Make(ExprKind::kUnary, lines.back(), Operands(std::move(expr)), "not");
  }
  return expr;
}

ExprPtr ExpressionParser::ParseComparison() {
  const int line = current().line;
  ExprPtr first = ParseSum();
  std::vector<std::string> names;
  std::vector<ExprPtr> operands;
  while (!failed()) {
    std::string op;
    if (Sees(TokenType::kOperator)) {
      for (const std::string_view candidate : {"==", "!=", "<", "<=", ">", ">="}) {
        if (current().text == candidate) op = candidate;
      }
      if (op.empty()) break;
      Next();
    } else if (TakeName("in")) {
      op = "in";
    } else if (Sees(TokenType::kName, "not") && tokens_[at_ + 1].type == TokenType::kName &&
               tokens_[at_ + 1].text == "in") {
      Next();
      Next();
      op = "not in";
    } else {
      break;
    }
    names.push_back(op);
    operands.push_back(ParseSum());
  }
  if (names.empty()) return first;
  operands.insert(operands.begin(), std::move(first));
  ExprPtr expr = Make(ExprKind::kComparison, line, std::move(operands));
  expr->names = std::move(names);
  return expr;
}

ExprPtr ExpressionParser::ParseSum() {
  ExprPtr left = ParseConcat();
  while (Sees(TokenType::kOperator, "+") || Sees(TokenType::kOperator, "-")) {
    const Token& op = Next();
    left = Make(ExprKind::kBinary, op.line, Operands(std::move(left), ParseConcat()), op.text);
  }
  return left;
}

ExprPtr ExpressionParser::ParseConcat() {
  const int line = current().line;
  ExprPtr first = ParseProduct();
  if (!Sees(TokenType::kOperator, "~")) return first;
  std::vector<ExprPtr> operands = Operands(std::move(first));
  while (TakeOperator("~")) operands.push_back(ParseProduct());
  return Make(ExprKind::kConcat, line, std::move(operands));
}

ExprPtr ExpressionParser::ParseProduct() {
  ExprPtr left = ParsePower();
  while (Sees(TokenType::kOperator, "*") || Sees(TokenType::kOperator, "/") ||
         Sees(TokenType::kOperator, "//") || Sees(TokenType::kOperator, "%")) {
    const Token& op = Next();
    left = Make(ExprKind::kBinary, op.line, Operands(std::move(left), ParsePower()), op.text);
  }
  return left;
}

ExprPtr ExpressionParser::ParsePower() {
  ExprPtr left = ParseUnary(WithFilters::kYes);
  while (Sees(TokenType::kOperator, "**")) {
    const Token& op = Next();
    left =
        Make(ExprKind::kBinary, op.line, Operands(std::move(left), ParseUnary(WithFilters::kYes)), op.text);
  }
  return left;
}

ExprPtr ExpressionParser::ParseUnary(WithFilters filters) {
  std::vector<const Token*> signs;
  while (Sees(TokenType::kOperator, "-") || Sees(TokenType::kOperator, "+")) signs.push_back(&Next());
  ExprPtr expr = ParsePostfix(ParsePrimary());
  for (; !signs.empty(); signs.pop_back()) {
    expr = Make(ExprKind::kUnary, signs.back()->line, Operands(std::move(expr)), signs.back()->text);
  }
  return filters == WithFilters::kYes ? ParseFiltersAndTests(std::move(expr)) : std::move(expr);
}

ExprPtr ExpressionParser::ParsePrimary() {
  const Token& token = current();
  ExprPtr expr = Make(ExprKind::kLiteral, token.line);
  switch (token.type) {
    case TokenType::kName: {
      Next();
      const std::string& name = token.text;
      if (name == "true" || name == "True") {
        expr->value = Value::Bool(true);
      } else if (name == "false" || name == "False") {
        expr->value = Value::Bool(false);
      } else if (name == "none" || name == "None") {
        expr->value = Value::NoneValue();
      } else {
        expr->kind = ExprKind::kName;
        expr->name = name;
      }
      return expr;
    }
    case TokenType::kString: {
      std::string text;
      while (Sees(TokenType::kString)) text += Next().text;
      expr->value = Value::String(std::move(text));
      return expr;
    }
    case TokenType::kInteger: {
      Next();
      int64_t number = 0;
      const auto [end, error] =
          std::from_chars(token.text.data(), token.text.data() + token.text.size(), number);
      if (error != std::errc()) Fail(token.line, Concat("number ", token.text, " is out of range"));
      expr->value = Value::Int(number);
      return expr;
    }
    case TokenType::kFloat: {
      Next();
      double number = 0;
      if (!absl::SimpleAtod(token.text, &number)) Fail(token.line, Concat("malformed number ", token.text));
      expr->value = Value::Float(number);
      return expr;
    }
    default:
      return ParseBrackets();
  }
}

ExprPtr ExpressionParser::ParseBrackets() {
  const int line = current().line;
  if (TakeOperator("(")) {
    if (TakeOperator(")")) return Make(ExprKind::kList, line);
    ExprPtr expr = ParseTuple();
    Expect(TokenType::kOperator, ")", "\")\"");
    return expr;
  }
  if (TakeOperator("[")) {
    std::vector<ExprPtr> items;
    while (!failed() && !Sees(TokenType::kOperator, "]")) {
      items.push_back(ParseExpression());
      if (!TakeOperator(",")) break;
    }
    Expect(TokenType::kOperator, "]", "\"]\"");
    return Make(ExprKind::kList, line, std::move(items));
  }
  if (TakeOperator("{")) return ParseDict();
  Fail(line, "expected an expression");
  return Make(ExprKind::kLiteral, line);
}

ExprPtr ExpressionParser::ParseDict() {
  const int line = current().line;
  std::vector<ExprPtr> items;
  while (!failed() && !Sees(TokenType::kOperator, "}")) {
    items.push_back(ParseExpression());
    Expect(TokenType::kOperator, ":", "\":\" after a key");
    items.push_back(ParseExpression());
    if (!TakeOperator(",")) break;
  }
  Expect(TokenType::kOperator, "}", "\"}\"");
  return Make(ExprKind::kDict, line, std::move(items));
}

ExprPtr ExpressionParser::ParsePostfix(ExprPtr expr) {
  while (!failed()) {
    const int line = current().line;
    if (TakeOperator(".")) {
      if (Sees(TokenType::kInteger)) {  // x.0 is x[0]
        expr = Make(ExprKind::kSubscript, line, Operands(std::move(expr), ParsePrimary()));
      } else {
        expr = Make(ExprKind::kAttribute, line, Operands(std::move(expr)), ExpectName("a name after \".\""));
      }
    } else if (TakeOperator("[")) {
      expr = ParseSubscript(std::move(expr));
    } else if (Sees(TokenType::kOperator, "(")) {
      expr = ParseCall(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr ExpressionParser::ParseCall(ExprPtr expr) {
  expr = Make(ExprKind::kCall, current().line, Operands(std::move(expr)));
  expr->arguments = ParseArguments();
  return Sealed(std::move(expr));
}

ExprPtr ExpressionParser::ParseSubscript(ExprPtr expr) {
  const int line = current().line;
  std::vector<ExprPtr> parts;
  ExprPtr part;
  bool is_slice = false;
  while (!failed() && !Sees(TokenType::kOperator, "]")) {
    if (TakeOperator(":")) {
      is_slice = true;
      parts.push_back(std::move(part));
    } else {
      if (part != nullptr) break;
      part = ParseExpression();
    }
  }
  parts.push_back(std::move(part));
  Expect(TokenType::kOperator, "]", "\"]\"");
  if (parts.size() > 3 || (!is_slice && parts[0] == nullptr)) Fail(line, "malformed subscript");
  if (failed()) return Make(ExprKind::kLiteral, line);
  if (!is_slice) return Make(ExprKind::kSubscript, line, Operands(std::move(expr), std::move(parts[0])));
  parts.resize(3);
  return Make(ExprKind::kSlice, line,
              Operands(std::move(expr), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])));
}

Arguments ExpressionParser::ParseArguments() {
  Arguments arguments;
  Expect(TokenType::kOperator, "(", "\"(\"");
  while (!failed() && !Sees(TokenType::kOperator, ")")) {
    const Token& token = current();
    if (Sees(TokenType::kOperator, "*") || Sees(TokenType::kOperator, "**")) {
      FailUnsupported(token.line, "unpacking of arguments");
      break;
    }
    const bool named = token.type == TokenType::kName && tokens_[at_ + 1].type == TokenType::kOperator &&
                       tokens_[at_ + 1].text == "=";
    if (named) {
      Next();
      Next();
      arguments.named.emplace_back(token.text, ParseExpression());
    } else {
      if (!arguments.named.empty()) Fail(token.line, "positional argument after a named one");
      arguments.positional.push_back(ParseExpression());
    }
    if (!TakeOperator(",")) break;
  }
  Expect(TokenType::kOperator, ")", "\")\"");
  return arguments;
}

ExprPtr ExpressionParser::ParseFiltersAndTests(ExprPtr expr) {
  while (!failed()) {
    const int line = current().line;
    if (TakeOperator("|")) {
      const std::string name = ExpectName("the name of a filter");
      expr = Make(ExprKind::kFilter, line, Operands(std::move(expr)), name);
      if (Sees(TokenType::kOperator, "(")) expr->arguments = ParseArguments();
      expr = Checked(Sealed(std::move(expr)), IsFilter(name), Concat("filter ", Quoted(name)));
    } else if (TakeName("is")) {
      expr = ParseTest(std::move(expr));
    } else if (Sees(TokenType::kOperator, "(")) {
      expr = ParseCall(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr ExpressionParser::ParseTest(ExprPtr expr) {
  const int line = current().line;
  const bool negated = TakeName("not");
  const std::string name = ExpectName("the name of a test");
  expr = Make(ExprKind::kTest, line, Operands(std::move(expr)), name);
  if (Sees(TokenType::kOperator, "(")) {
    expr->arguments = ParseArguments();
  } else {
    // One argument may follow without parentheses: "x is divisibleby 3".
    const bool operand = Sees(TokenType::kString) || Sees(TokenType::kInteger) || Sees(TokenType::kFloat) ||
                         Sees(TokenType::kOperator, "[") || Sees(TokenType::kOperator, "{");
    const bool word = Sees(TokenType::kName) && !Sees(TokenType::kName, "else") &&
                      !Sees(TokenType::kName, "or") && !Sees(TokenType::kName, "and") &&
                      !Sees(TokenType::kName, "is") && !Sees(TokenType::kName, "if") &&
                      !Sees(TokenType::kName, "not") && !Sees(TokenType::kName, "in");
    if (operand || word) expr->arguments.positional.push_back(ParsePostfix(ParsePrimary()));
  }
  expr = Checked(Sealed(std::move(expr)), IsTest(name), Concat("test ", Quoted(name)));
  return negated ? Make(ExprKind::kUnary, line, Operands(std::move(expr)), "not") : std::move(expr);
}

}  // namespace memgate::jinja
