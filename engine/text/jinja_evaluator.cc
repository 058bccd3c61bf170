#include "engine/text/jinja_evaluator.h"

#include <ctime>

#include "absl/strings/ascii.h"
#include "engine/text/strings.h"

namespace memgate::jinja {
namespace {

// Statements, expressions and macros within each other; each level takes up to about 2 KiB of stack.
constexpr int kMaxRecursion = 500;
constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox

constexpr std::string_view kGlobalFunctions[] = {"raise_exception", "namespace", "range", "dict"};

// Counts a level of recursion while it lives.
class Level {
 public:
  explicit Level(int& depth) : depth_(depth) { ++depth_; }
  ~Level() { --depth_; }

 private:
  int& depth_;
};

}  // namespace

Evaluator::Evaluator(Dict globals, std::optional<int64_t> now_unix_seconds, Context::Limits limits)
    : context_(limits), globals_(std::move(globals)), now_unix_seconds_(now_unix_seconds), scopes_(1) {
  for (const std::string_view name : kGlobalFunctions) AddFunction(name);
  if (now_unix_seconds_.has_value()) AddFunction("strftime_now");
}

void Evaluator::AddFunction(std::string_view name) {
  if (FindKey(globals_, name) != nullptr) return;
  globals_.emplace_back(name, Value::FromCallable({std::string(name)}));
}

absl::StatusOr<std::string> Evaluator::Render(const Body& body) {
  std::string out;
  Exec(body, out);
  if (context_.failed()) return context_.status();
  return out;
}

Evaluator::Flow Evaluator::Exec(const Body& body, std::string& out) {
  const Level level(recursion_);
  if (recursion_ > kMaxRecursion) context_.FailLimit("tags and macros are nested too deeply");
  for (const auto& stmt : body) {
    context_.set_line(stmt->line);
    if (!context_.Step()) return Flow::kBreak;
    const Flow flow = ExecOne(*stmt, out);
    if (context_.failed()) return Flow::kBreak;
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::ExecOne(const Stmt& stmt, std::string& out) {
  switch (stmt.kind) {
    case StmtKind::kText:
      if (context_.Charge(stmt.text.size())) out += stmt.text;
      return Flow::kNext;
    case StmtKind::kPrint:
      Print(Eval(*stmt.expr), out);
      return Flow::kNext;
    case StmtKind::kIf:
      return ExecIf(stmt, out);
    case StmtKind::kFor:
      ExecFor(stmt, out);
      return Flow::kNext;
    case StmtKind::kSet:
      ExecSet(stmt);
      return Flow::kNext;
    case StmtKind::kMacro:
      Assign(stmt.macro.name, Value::FromCallable({stmt.macro.name, std::nullopt, &stmt.macro}));
      return Flow::kNext;
    case StmtKind::kScope: {
      // The values are computed outside the new scope.
      Scope scope;
      for (const auto& [target, expr] : stmt.assignments) scope.emplace_back(target.names[0], Eval(*expr));
      scopes_.push_back(std::move(scope));
      const Flow flow = Exec(stmt.body, out);
      scopes_.pop_back();
      return flow;
    }
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Evaluator::Print(const Value& value, std::string& out) {
  if (context_.failed()) return;
  if (value.is(Kind::kString)) {
    if (context_.Charge(value.string().size())) out += value.string();
    return;
  }
  if (!context_.Read(value)) return;
  const std::string text = ToString(value);
  if (context_.Charge(text.size())) out += text;
}

Evaluator::Flow Evaluator::ExecIf(const Stmt& stmt, std::string& out) {
  for (const auto& [condition, body] : stmt.branches) {
    if (condition == nullptr || IsTrue(Eval(*condition))) {
      return context_.failed() ? Flow::kBreak : Exec(body, out);
    }
  }
  return Flow::kNext;
}

void Evaluator::ExecFor(const Stmt& stmt, std::string& out) {
  Value sequence = Eval(*stmt.expr);
  if (!sequence.is(Kind::kList)) sequence = context_.NewList(Iterate(context_, sequence));
  if (context_.failed()) return;
  if (stmt.filter != nullptr) {
    List kept;
    for (const Value& item : sequence.list()) {
      if (!context_.Step()) return;
      scopes_.emplace_back();
      AssignTarget(stmt.target, item);
      const bool keep = IsTrue(Eval(*stmt.filter));
      scopes_.pop_back();
      if (keep) kept.push_back(item);
    }
    sequence = context_.NewList(std::move(kept));
  }
  if (context_.failed()) return;
  const int64_t length = static_cast<int64_t>(sequence.list().size());
  for (int64_t i = 0; i < length; ++i) {
    if (!context_.Step()) return;
    scopes_.emplace_back();
    Assign("loop", Value::FromLoop({sequence, i}));
    AssignTarget(stmt.target, sequence.list()[i]);
    const Flow flow = Exec(stmt.body, out);
    scopes_.pop_back();
    if (flow == Flow::kBreak) return;
  }
  if (length > 0 || stmt.otherwise.empty()) return;
  scopes_.emplace_back();
  Exec(stmt.otherwise, out);
  scopes_.pop_back();
}

void Evaluator::ExecSet(const Stmt& stmt) {
  if (stmt.expr != nullptr) return AssignTarget(stmt.target, Eval(*stmt.expr));
  std::string text;
  scopes_.emplace_back();
  Exec(stmt.body, text);
  scopes_.pop_back();
  AssignTarget(stmt.target, context_.NewString(std::move(text)));
}

Value Evaluator::LookUp(std::string_view name) const {
  const auto find = [&](const Scope& scope) -> const Value* {
    for (const auto& [key, value] : scope) {
      if (key == name) return &value;
    }
    return nullptr;
  };
  for (size_t i = scopes_.size(); i > frame_base_; --i) {
    if (const Value* found = find(scopes_[i - 1])) return *found;
  }
  if (const Value* found = find(scopes_[0])) return *found;
  const Value* global = FindKey(globals_, name);
  return global == nullptr ? Value::UndefinedNamed(name) : *global;
}

void Evaluator::Assign(std::string_view name, Value value) {
  for (auto& [key, existing] : scopes_.back()) {
    if (key != name) continue;
    existing = std::move(value);
    return;
  }
  scopes_.back().emplace_back(name, std::move(value));
}

void Evaluator::AssignTarget(const Target& target, Value value) {
  if (context_.failed()) return;
  if (!target.attribute.empty()) {
    const Value object = LookUp(target.names[0]);
    if (!object.is(Kind::kNamespace)) {
      context_.Fail(Concat("'", target.names[0], "' is no namespace: its attributes cannot be set"));
      return;
    }
    for (auto& [key, existing] : object.space().attributes) {
      if (key != target.attribute) continue;
      existing = std::move(value);
      return;
    }
    object.space().attributes.emplace_back(target.attribute, std::move(value));
    return;
  }
  if (target.names.size() == 1) return Assign(target.names[0], std::move(value));
  const List items = Iterate(context_, value);
  if (items.size() != target.names.size()) {
    context_.Fail(Concat("cannot unpack ", items.size(), " values into ", target.names.size(), " names"));
    return;
  }
  for (size_t i = 0; i < items.size(); ++i) Assign(target.names[i], items[i]);
}

Value Evaluator::Eval(const Expr& expr) {
  const Level level(recursion_);
  if (context_.failed() || !context_.Step()) return Value();
  if (recursion_ > kMaxRecursion) return context_.FailLimit("expressions and macros are nested too deeply");
  const int outer_line = context_.line();
  context_.set_line(expr.line);
  Value value = EvalChecked(expr);
  context_.set_line(outer_line);
  return value;
}

Value Evaluator::EvalChecked(const Expr& expr) {
  const auto operand = [&](size_t i) { return Eval(*expr.operands[i]); };
  switch (expr.kind) {
    case ExprKind::kLiteral:
      return expr.value;
    case ExprKind::kName:
      return LookUp(expr.name);
    case ExprKind::kList:
      return EvalList(expr);
    case ExprKind::kDict:
      return EvalDict(expr);
    case ExprKind::kAttribute: {
      const Value object = operand(0);
      return context_.failed() ? Value() : Attribute(context_, object, expr.name);
    }
    case ExprKind::kSubscript: {
      const Value object = operand(0);
      const Value key = operand(1);
      return context_.failed() ? Value() : Subscript(context_, object, key);
    }
    case ExprKind::kSlice: {
      const Value object = operand(0);
      const Value start = EvalOptional(expr.operands[1]);
      const Value stop = EvalOptional(expr.operands[2]);
      const Value step = EvalOptional(expr.operands[3]);
      return context_.failed() ? Value() : Slice(context_, object, start, stop, step);
    }
    case ExprKind::kCall:
      return Call(expr);
    case ExprKind::kFilter: {
      const Value object = operand(0);
      const CallArgs args = EvalArguments(expr.arguments);
      return context_.failed() ? Value() : ApplyFilter(context_, expr.name, object, args);
    }
    case ExprKind::kTest: {
      const Value object = operand(0);
      const CallArgs args = EvalArguments(expr.arguments);
      return context_.failed() ? Value() : Value::Bool(ApplyTest(context_, expr.name, object, args));
    }
    case ExprKind::kUnary:
      return EvalUnary(expr);
    case ExprKind::kBinary: {
      const Value left = operand(0);
      const Value right = operand(1);
      return context_.failed() ? Value() : Arithmetic(context_, expr.name, left, right);
    }
    case ExprKind::kAnd: {
      Value left = operand(0);
      return IsTrue(left) ? operand(1) : left;
    }
    case ExprKind::kOr: {
      Value left = operand(0);
      return IsTrue(left) ? left : operand(1);
    }
    case ExprKind::kConcat:
      return EvalConcat(expr);
    case ExprKind::kComparison:
      return EvalComparison(expr);
    case ExprKind::kConditional: {
      const bool holds = IsTrue(operand(1));
      if (holds) return operand(0);
      return expr.operands[2] == nullptr ? Value::UndefinedNamed("the inline if without else") : operand(2);
    }
    case ExprKind::kFailure:
      return context_.Fail(expr.name);
  }
  return Value();
}

Value Evaluator::EvalOptional(const ExprPtr& expr) {
  return expr == nullptr ? Value::NoneValue() : Eval(*expr);
}

Value Evaluator::EvalList(const Expr& expr) {
  List items;
  for (const ExprPtr& operand : expr.operands) items.push_back(Eval(*operand));
  return context_.failed() ? Value() : context_.NewList(std::move(items));
}

Value Evaluator::EvalDict(const Expr& expr) {
  Dict items;
  for (size_t i = 0; i + 1 < expr.operands.size(); i += 2) {
    const Value key = Eval(*expr.operands[i]);
    Value value = Eval(*expr.operands[i + 1]);
    if (context_.failed()) return Value();
    if (!key.is(Kind::kString)) return context_.Fail("only strings can be keys of a dict");
    if (!context_.Step(static_cast<int64_t>(items.size()) / 16)) return Value();
    bool replaced = false;
    for (auto& [name, existing] : items) {
      if (name != key.string()) continue;
      existing = value;
      replaced = true;
    }
    if (!replaced) items.emplace_back(key.string(), std::move(value));
  }
  return context_.NewDict(std::move(items));
}

Value Evaluator::EvalConcat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& operand : expr.operands) Print(Eval(*operand), text);
  return context_.NewString(std::move(text));
}

Value Evaluator::EvalComparison(const Expr& expr) {
  Value left = Eval(*expr.operands[0]);
  for (size_t i = 0; i < expr.names.size() && !context_.failed(); ++i) {
    Value right = Eval(*expr.operands[i + 1]);
    if (context_.failed() || !Holds(context_, expr.names[i], left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value Evaluator::EvalUnary(const Expr& expr) {
  const Value value = Eval(*expr.operands[0]);
  if (context_.failed()) return Value();
  if (expr.name == "not") return Value::Bool(!IsTrue(value));
  if (!value.is_number())
    return context_.Fail(Concat("\"", expr.name, "\" does not apply to ", TypeName(value)));
  if (value.is(Kind::kFloat)) return Value::Float(expr.name == "-" ? -value.AsDouble() : value.AsDouble());
  return Arithmetic(context_, expr.name, Value::Int(0), value);
}

CallArgs Evaluator::EvalArguments(const Arguments& arguments) {
  CallArgs args;
  for (const ExprPtr& argument : arguments.positional) args.positional.push_back(Eval(*argument));
  for (const auto& [name, argument] : arguments.named) args.named.emplace_back(name, Eval(*argument));
  return args;
}

Value Evaluator::Call(const Expr& expr) {
  const Value function = Eval(*expr.operands[0]);
  const CallArgs args = EvalArguments(expr.arguments);
  if (context_.failed()) return Value();
  if (!function.is(Kind::kCallable)) {
    if (!function.is(Kind::kUndefined)) return context_.Fail(Concat(TypeName(function), " cannot be called"));
    return context_.Fail(Concat("'", function.undefined_name(), "' is undefined and cannot be called"));
  }
  const Callable& callable = function.callable();
  if (callable.self.has_value()) return CallMethod(context_, callable, args);
  if (callable.macro != nullptr) return CallMacro(*callable.macro, args);
  return CallGlobal(callable.name, args);
}

Value Evaluator::CallMacro(const MacroNode& macro, const CallArgs& args) {
  if (args.positional.size() > macro.parameters.size()) {
    return context_.Fail(Concat("macro '", macro.name, "' takes ", macro.parameters.size(),
                                " arguments, not ", args.positional.size()));
  }
  for (const auto& [name, value] : args.named) {
    bool known = false;
    for (const std::string& parameter : macro.parameters) known = known || parameter == name;
    if (!known) return context_.Fail(Concat("macro '", macro.name, "' has no parameter '", name, "'"));
  }
  const size_t outer_base = frame_base_;
  frame_base_ = scopes_.size();
  scopes_.emplace_back();
  const size_t first_default = macro.parameters.size() - macro.defaults.size();
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Value* given = args.Find(i, macro.parameters[i]);
    Value value = Value::UndefinedNamed(macro.parameters[i]);
    if (given != nullptr) {
      value = *given;
    } else if (i >= first_default) {
      value = Eval(*macro.defaults[i - first_default]);
    }
    Assign(macro.parameters[i], std::move(value));
  }
  std::string text;
  Exec(macro.body, text);
  scopes_.pop_back();
  frame_base_ = outer_base;
  return context_.NewString(std::move(text));
}

Value Evaluator::CallGlobal(std::string_view name, const CallArgs& args) {
  if (name == "raise_exception") {
    const Value* message = args.Find(0, "message");
    return context_.Fail(message == nullptr ? "raise_exception" : ToString(*message));
  }
  if (name == "namespace") return MakeNamespace(args);
  if (name == "range") return Range(args);
  if (name == "strftime_now") return FormatNow(args);
  if (!args.positional.empty()) return context_.Fail("dict takes named arguments only");
  return context_.NewDict(args.named);
}

Value Evaluator::MakeNamespace(const CallArgs& args) {
  if (!context_.Charge(sizeof(Namespace))) return Value();
  Namespace& space = namespaces_.emplace_back();
  if (!args.positional.empty()) {
    if (!args.positional[0].is(Kind::kDict))
      return context_.Fail("namespace takes a dict or named arguments");
    space.attributes = args.positional[0].dict();
  }
  for (const auto& [name, value] : args.named) space.attributes.emplace_back(name, value);
  return Value::FromNamespace(&space);
}

Value Evaluator::Range(const CallArgs& args) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = args.positional.size();
  if (count < 1 || count > 3) return context_.Fail("range takes one to three arguments");
  for (size_t i = 0; i < count; ++i) {
    const std::optional<int64_t> bound = args.positional[i].AsInt();
    if (!bound.has_value()) return context_.Fail("range takes integers");
    bounds[count == 1 ? 1 : i] = *bound;
  }
  const auto [start, stop, step] = bounds;
  if (step == 0) return context_.Fail("range cannot step by zero");
  List items;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) return context_.FailLimit("range is too long");
    items.push_back(Value::Int(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return context_.NewList(std::move(items));
}

Value Evaluator::FormatNow(const CallArgs& args) {
  const Value* format = args.Find(0, "format");
  if (format == nullptr || !format->is(Kind::kString)) return context_.Fail("strftime_now needs a format");
  constexpr size_t kMaxFormatBytes = 256;
  const std::string& pattern = format->string();
  if (pattern.size() > kMaxFormatBytes) return context_.Fail("strftime_now: the format is too long");
  // Only what both C and Python define; the result then has a bounded length.
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') continue;
    ++i;
    if (i < pattern.size() && pattern[i] == '-') ++i;
    if (i == pattern.size() ||
        std::string_view("aAbBcdHIjmMpSUwWxXyYD%eFnTtuRGVg").find(pattern[i]) == std::string_view::npos) {
      return context_.Fail(Concat("strftime_now: unknown conversion in ", Quoted(pattern)));
    }
  }
  const std::time_t seconds = static_cast<std::time_t>(*now_unix_seconds_);
  std::tm utc = {};
  if (pattern.empty()) return Value::String("");
  if (gmtime_r(&seconds, &utc) == nullptr) return context_.Fail("strftime_now: the time is out of range");
  std::string text(kMaxFormatBytes * 32, '\0');
  text.resize(std::strftime(text.data(), text.size(), pattern.c_str(), &utc));
  return context_.NewString(std::move(text));
}

}  // namespace memgate::jinja
