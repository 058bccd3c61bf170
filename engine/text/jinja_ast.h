// The parsed form of a chat template.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_AST_H_
#define MEMGATE_ENGINE_TEXT_JINJA_AST_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja_value.h"

namespace memgate::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

enum class ExprKind {
  kLiteral,      // value
  kName,         // name
  kList,         // operands
  kDict,         // operands: key, value, key, value, ...
  kAttribute,    // operands[0].name
  kSubscript,    // operands[0][operands[1]]
  kSlice,        // operands[0][operands[1]:operands[2]:operands[3]]; null where left out
  kCall,         // operands[0](arguments)
  kFilter,       // operands[0] | name(arguments)
  kTest,         // operands[0] is name(arguments)
  kUnary,        // name operands[0]; name is "-", "+" or "not"
  kBinary,       // operands[0] name operands[1]; arithmetic
  kAnd,          // operands[0] and operands[1]
  kOr,           // operands[0] or operands[1]
  kConcat,       // operands joined with ~
  kComparison,   // operands[0] names[0] operands[1] names[1] operands[2] ...
  kConditional,  // operands[0] if operands[1] else operands[2] (null: undefined)
  kFailure,      // fails where it is reached; name is the message
};

struct Expr {
  ExprKind kind = ExprKind::kLiteral;
  int line = 0;
  int depth = 1;  // of the tree below, at least 1
  Value value;
  std::string name;
  std::vector<std::string> names;
  std::vector<ExprPtr> operands;
  Arguments arguments;
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

// What an assignment or a for loop assigns to.
struct Target {
  std::vector<std::string> names;  // more than one unpacks a sequence
  std::string attribute;           // not empty: names[0].attribute, of a namespace
};

struct MacroNode {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Body body;
};

enum class StmtKind {
  kText,   // text
  kPrint,  // expr
  kIf,     // branches in order; a null condition is "else"
  kFor,    // for target in expr if filter: body, else otherwise
  kSet,    // target = expr, or target = filters applied to the text of body (expr null)
  kMacro,  // macro
  kScope,  // body in a scope of its own, with `assignments` (a with block)
  kBreak,
  kContinue,
};

struct Stmt {
  StmtKind kind = StmtKind::kText;
  int line = 0;
  std::string text;
  ExprPtr expr;
  ExprPtr filter;
  Target target;
  std::vector<std::pair<ExprPtr, Body>> branches;
  std::vector<std::pair<Target, ExprPtr>> assignments;
  Body body;
  Body otherwise;
  MacroNode macro;
};

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_AST_H_
