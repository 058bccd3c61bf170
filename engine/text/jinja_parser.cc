#include "engine/text/jinja_parser.h"

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja_builtins.h"
#include "engine/text/jinja_expression_parser.h"
#include "engine/text/strings.h"

namespace memgate::jinja {
namespace {

constexpr size_t kMaxTemplateBytes = 1 << 20;
constexpr int kMaxNesting = 64;

class Parser {
 public:
  explicit Parser(const std::vector<Token>& tokens) : in_(tokens) {}

  absl::StatusOr<Body> Run() {
    Body body = ParseBody({});
    if (!in_.failed() && !in_.Sees(TokenType::kEnd)) {
      in_.Fail(in_.current().line, Concat("unexpected tag ", Quoted(tag_name_)));
    }
    if (in_.failed()) return in_.status();
    return body;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Up to a tag named in `ends`, whose name is left in tag_name_ and consumed, or up to the end of the
  // template.
  Body ParseBody(Ends ends) {
    Body body;
    const int line = in_.current().line;
    if (++nesting_ > kMaxNesting) in_.Fail(line, Concat("tags nested deeper than ", kMaxNesting));
    tag_name_.clear();
    while (!in_.failed() && !in_.Sees(TokenType::kEnd)) {
      const Token& token = in_.Next();
      if (token.type == TokenType::kText) {
        Make(StmtKind::kText, token.line, body).text = token.text;
      } else if (token.type == TokenType::kPrintBegin) {
        Make(StmtKind::kPrint, token.line, body).expr = in_.ParseTuple();
        in_.Expect(TokenType::kPrintEnd, "", "\"}}\"");
      } else {
        tag_name_ = in_.ExpectName("the name of a tag");
        bool is_end = false;
        for (const std::string_view end : ends) is_end = is_end || tag_name_ == end;
        if (is_end) {
          --nesting_;
          return body;
        }
        ParseTag(tag_name_, token.line, body);
      }
    }
    if (!in_.failed() && ends.size() > 0) in_.Fail(line, Concat("tag without ", Quoted(*(ends.end() - 1))));
    --nesting_;
    return body;
  }

  static Stmt& Make(StmtKind kind, int line, Body& body) {
    body.push_back(std::make_unique<Stmt>());
    body.back()->kind = kind;
    body.back()->line = line;
    return *body.back();
  }

  void ExpectBlockEnd() { in_.Expect(TokenType::kBlockEnd, "", "\"%}\""); }

  void ParseTag(const std::string& name, int line, Body& body) {
    if (name == "if") return ParseIf(Make(StmtKind::kIf, line, body));
    if (name == "for") return ParseFor(Make(StmtKind::kFor, line, body));
    if (name == "set") return ParseSet(Make(StmtKind::kSet, line, body));
    if (name == "macro") return ParseMacro(Make(StmtKind::kMacro, line, body));
    if (name == "with") return ParseWith(Make(StmtKind::kScope, line, body));
    if (name == "generation") return ParseGeneration(Make(StmtKind::kScope, line, body));
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return in_.Fail(line, Concat(name, " outside a loop"));
      Make(name == "break" ? StmtKind::kBreak : StmtKind::kContinue, line, body);
      return ExpectBlockEnd();
    }
    for (const std::string_view end : {"else", "elif", "endif", "endfor", "endset", "endmacro", "endwith"}) {
      if (name == end) return in_.Fail(line, Concat("unexpected tag ", Quoted(name)));
    }
    in_.FailUnsupported(line, Concat("tag ", Quoted(name)));
  }

  void ParseIf(Stmt& stmt) {
    in_.BeginConditional();
    ExprPtr condition = in_.ParseTuple();
    ExpectBlockEnd();
    while (!in_.failed()) {
      Body body = condition == nullptr ? ParseBody({"endif"}) : ParseBody({"elif", "else", "endif"});
      stmt.branches.emplace_back(std::move(condition), std::move(body));
      const std::string tag = tag_name_;
      condition = tag == "elif" && !in_.failed() ? in_.ParseTuple() : nullptr;
      ExpectBlockEnd();
      if (tag == "endif") break;
    }
    in_.EndConditional();
  }

  void ParseFor(Stmt& stmt) {
    stmt.target = ParseTargetNames();
    if (!in_.TakeName("in")) in_.Fail(stmt.line, "expected \"in\" in a for tag");
    stmt.expr = in_.ParseOr();
    if (in_.TakeName("if")) stmt.filter = in_.ParseExpression();
    if (in_.Sees(TokenType::kName, "recursive")) in_.FailUnsupported(stmt.line, "a recursive loop");
    ExpectBlockEnd();
    ++loops_;
    stmt.body = ParseBody({"else", "endfor"});
    --loops_;
    if (tag_name_ == "else") {
      ExpectBlockEnd();
      stmt.otherwise = ParseBody({"endfor"});
    }
    ExpectBlockEnd();
  }

  Target ParseTargetNames() {
    Target target;
    const bool parenthesised = in_.TakeOperator("(");
    do {
      target.names.push_back(in_.ExpectName("a name to assign to"));
    } while (!in_.failed() && in_.TakeOperator(","));
    if (parenthesised) in_.Expect(TokenType::kOperator, ")", "\")\"");
    return target;
  }

  void ParseSet(Stmt& stmt) {
    stmt.target = ParseTargetNames();
    if (stmt.target.names.size() == 1 && in_.TakeOperator(".")) {
      stmt.target.attribute = in_.ExpectName("an attribute to assign to");
    }
    if (in_.TakeOperator("=")) {
      stmt.expr = in_.ParseTuple();
      return ExpectBlockEnd();
    }
    if (in_.Sees(TokenType::kOperator, "|")) return in_.FailUnsupported(stmt.line, "a filter on a set block");
    ExpectBlockEnd();
    stmt.body = ParseBody({"endset"});
    ExpectBlockEnd();
  }

  void ParseMacro(Stmt& stmt) {
    stmt.macro.name = in_.ExpectName("the name of a macro");
    in_.Expect(TokenType::kOperator, "(", "\"(\"");
    while (!in_.failed() && !in_.Sees(TokenType::kOperator, ")")) {
      stmt.macro.parameters.push_back(in_.ExpectName("the name of a parameter"));
      if (in_.TakeOperator("=")) {
        stmt.macro.defaults.push_back(in_.ParseExpression());
      } else if (!stmt.macro.defaults.empty()) {
        in_.Fail(stmt.line, "parameter without default after one with a default");
      }
      if (!in_.TakeOperator(",")) break;
    }
    in_.Expect(TokenType::kOperator, ")", "\")\"");
    ExpectBlockEnd();
    const int outer_loops = std::exchange(loops_, 0);
    stmt.macro.body = ParseBody({"endmacro"});
    loops_ = outer_loops;
    ExpectBlockEnd();
  }

  void ParseWith(Stmt& stmt) {
    while (!in_.failed() && !in_.Sees(TokenType::kBlockEnd)) {
      Target target;
      target.names.push_back(in_.ExpectName("a name to assign to"));
      in_.Expect(TokenType::kOperator, "=", "\"=\"");
      stmt.assignments.emplace_back(std::move(target), in_.ParseExpression());
      if (!in_.TakeOperator(",")) break;
    }
    ExpectBlockEnd();
    stmt.body = ParseBody({"endwith"});
    ExpectBlockEnd();
  }

  // Marks what the assistant said, for training; for rendering it is its body.
  void ParseGeneration(Stmt& stmt) {
    ExpectBlockEnd();
    stmt.body = ParseBody({"endgeneration"});
    ExpectBlockEnd();
  }

  ExpressionParser in_;
  std::string tag_name_;
  int nesting_ = 0;
  int loops_ = 0;
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(std::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return absl::InvalidArgumentError(
        Concat("template of ", source.size(), " bytes is longer than ", kMaxTemplateBytes));
  }
  const absl::StatusOr<std::vector<Token>> tokens = Tokenize(source);
  if (!tokens.ok()) return tokens.status();
  return Parser(*tokens).Run();
}

}  // namespace memgate::jinja
