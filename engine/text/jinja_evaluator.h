// Renders a parsed chat template.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_EVALUATOR_H_
#define MEMGATE_ENGINE_TEXT_JINJA_EVALUATOR_H_

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_builtins.h"
#include "engine/text/jinja_context.h"

namespace memgate::jinja {

// For one rendering. The template must outlive it.
class Evaluator {
 public:
  // `globals` are the variables the template starts with; they hide functions of the same name.
  // `now_unix_seconds` is what strftime_now formats, in UTC; without it the template sees no such function.
  Evaluator(Dict globals, std::optional<int64_t> now_unix_seconds, Context::Limits limits);

  // INVALID_ARGUMENT with the line for an error of the template, RESOURCE_EXHAUSTED past the limits.
  absl::StatusOr<std::string> Render(const Body& body);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  using Scope = std::vector<std::pair<std::string_view, Value>>;

  Flow Exec(const Body& body, std::string& out);
  Flow ExecOne(const Stmt& stmt, std::string& out);
  Flow ExecIf(const Stmt& stmt, std::string& out);
  void ExecFor(const Stmt& stmt, std::string& out);
  void ExecSet(const Stmt& stmt);
  void Print(const Value& value, std::string& out);

  Value Eval(const Expr& expr);
  Value EvalChecked(const Expr& expr);
  Value EvalOptional(const ExprPtr& expr);
  Value EvalList(const Expr& expr);
  Value EvalDict(const Expr& expr);
  Value EvalConcat(const Expr& expr);
  Value EvalComparison(const Expr& expr);
  Value EvalUnary(const Expr& expr);
  CallArgs EvalArguments(const Arguments& arguments);

  Value Call(const Expr& expr);
  Value CallMacro(const MacroNode& macro, const CallArgs& args);
  Value CallGlobal(std::string_view name, const CallArgs& args);
  Value MakeNamespace(const CallArgs& args);
  Value Range(const CallArgs& args);
  Value FormatNow(const CallArgs& args);

  void AddFunction(std::string_view name);
  Value LookUp(std::string_view name) const;
  void Assign(std::string_view name, Value value);
  void AssignTarget(const Target& target, Value value);

  Context context_;
  Dict globals_;
  std::optional<int64_t> now_unix_seconds_;
  std::deque<Namespace> namespaces_;
  // scopes_[0] is the template's own; a macro sees that one and those from frame_base_ on.
  std::vector<Scope> scopes_;
  size_t frame_base_ = 1;
  int recursion_ = 0;
};

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_EVALUATOR_H_
