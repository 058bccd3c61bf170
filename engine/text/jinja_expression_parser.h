// Expressions of a chat template, by precedence climbing in the order of Jinja's grammar.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_EXPRESSION_PARSER_H_
#define MEMGATE_ENGINE_TEXT_JINJA_EXPRESSION_PARSER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_lexer.h"

namespace memgate::jinja {

// Reads tokens one after the other. The first error sticks and moves to the end, so that every loop over
// tokens ends; what was parsed is then of no use. Expressions are never null.
class ExpressionParser {
 public:
  // REQUIRES: the last token is kEnd. `tokens` must outlive this object.
  explicit ExpressionParser(const std::vector<Token>& tokens) : tokens_(tokens) {}

  ExprPtr ParseExpression();
  // An expression without "x if y else z", as a for loop needs it before its own "if".
  ExprPtr ParseOr();
  // One expression, or a list of them separated by commas.
  ExprPtr ParseTuple();
  Arguments ParseArguments();

  const Token& current() const { return tokens_[at_]; }
  const Token& Next();
  bool Sees(TokenType type, std::string_view text = "") const;
  // Consumes the token if it is this one.
  bool Take(TokenType type, std::string_view text = "");
  bool TakeOperator(std::string_view text) { return Take(TokenType::kOperator, text); }
  bool TakeName(std::string_view text) { return Take(TokenType::kName, text); }
  void Expect(TokenType type, std::string_view text, std::string_view what);
  std::string ExpectName(std::string_view what);

  // Around a tag that may not reach what is in it: as in Jinja, a filter or test that is not known is an error
  // there only where it is reached.
  void BeginConditional() { ++conditionals_; }
  void EndConditional() { --conditionals_; }

  void Fail(int line, std::string_view message);
  void FailUnsupported(int line, std::string_view what);
  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseComparison();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  enum class WithFilters { kYes, kNo };
  ExprPtr ParseUnary(WithFilters filters);
  ExprPtr ParsePrimary();
  ExprPtr ParseBrackets();
  ExprPtr ParseDict();
  ExprPtr ParsePostfix(ExprPtr expr);
  ExprPtr ParseFiltersAndTests(ExprPtr expr);
  ExprPtr ParseCall(ExprPtr expr);
  ExprPtr ParseSubscript(ExprPtr expr);
  ExprPtr ParseTest(ExprPtr expr);

  ExprPtr Make(ExprKind kind, int line, std::vector<ExprPtr> operands = {}, std::string name = "");
  // `expr` applies a filter or test, which `what` says; `known`: whether there is one of its name.
  ExprPtr Checked(ExprPtr expr, bool known, std::string_view what);
  // Updates the depth after operands or arguments were added.
  ExprPtr Sealed(ExprPtr expr);

  const std::vector<Token>& tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int conditionals_ = 0;
  absl::Status status_;
};

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_EXPRESSION_PARSER_H_
