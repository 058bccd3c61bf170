// Context-free grammars over bytes, as a network of nodes.
#ifndef MEMGATE_ENGINE_STRUCTURED_GRAMMAR_H_
#define MEMGATE_ENGINE_STRUCTURED_GRAMMAR_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/structured/code_points.h"
#include "engine/structured/compile_budget.h"

namespace memgate {

using GrammarNode = int32_t;
using GrammarRule = int32_t;

// A recursive transition network (Woods 1970): each rule is a nondeterministic automaton over bytes whose
// edges may also call rules. What is matched is a sequence of bytes; characters are UTF-8. Immutable.
//
// Of every grammar that GrammarBuilder::Build returns: what has been matched can always be completed, as
// nothing in it leads nowhere; and no rule calls itself before it has read a byte.
class Grammar {
 public:
  enum class Kind : uint8_t {
    kBytes,   // reads one byte of first..last, goes on at `next`
    kCall,    // matches the rule that starts at `other`, goes on at `next`
    kChoice,  // goes on at `next` or at `other`
    kEnd,     // the rule has been matched
  };
  struct Node {
    Kind kind = Kind::kEnd;
    uint8_t first = 0, last = 0;
    GrammarNode next = 0;
    GrammarNode other = 0;
  };

  const Node& node(GrammarNode node) const { return nodes_[node]; }
  GrammarNode start() const { return start_; }
  // A node from which the next `bytes` bytes may be the same as from `node`: one for all that differ in how
  // often a part is repeated after that only. REQUIRES: bytes > 0.
  GrammarNode Nearer(GrammarNode node, int64_t bytes) const;
  int64_t bytes() const;

 private:
  friend class GrammarBuilder;
  struct Link {  // a node's place in a chain
    int32_t chain = 0, index = 0;
  };

  std::vector<Node> nodes_;
  GrammarNode start_ = 0;
  std::vector<std::vector<GrammarNode>> chains_;
  absl::flat_hash_map<GrammarNode, Link> links_;
};

// Builds networks backwards: every method takes the node to go on at and returns the node to begin with. Not
// thread-safe.
//
// Work and memory are bounded: past kMaxNodes nodes, or once the budget is spent, nothing grows any more,
// what is returned means nothing, and Build fails. Callers that loop look at full().
class GrammarBuilder {
 public:
  static constexpr int kMaxNodes = 1 << 17;

  // `budget` must outlive the builder.
  explicit GrammarBuilder(CompileBudget& budget);

  // A rule to be defined later; `name` is for error messages.
  GrammarRule AddRule(std::string name);
  // REQUIRES: `rule` is not defined yet.
  void Define(GrammarRule rule, GrammarNode start) { rules_[rule].start = start; }

  // The end of the rule.
  GrammarNode End() const { return 0; }
  GrammarNode Bytes(ByteRange range, GrammarNode next);
  GrammarNode Literal(std::string_view text, GrammarNode next);
  // One character of the set.
  GrammarNode Characters(const CodePointSet& set, GrammarNode next);
  GrammarNode Call(GrammarRule rule, GrammarNode next);
  // Matches nothing at all if there are none.
  GrammarNode Choice(absl::Span<const GrammarNode> alternatives);
  // `part` builds one repetition in front of the node it is given. `max` < 0 = any number.
  GrammarNode Repeat(absl::FunctionRef<GrammarNode(GrammarNode next)> part, int64_t min, int64_t max,
                     GrammarNode next);
  // A choice whose alternatives are not known yet.
  GrammarNode Reserve();
  // REQUIRES: Reserve returned `reserved`, and this is the first call for it.
  void Fill(GrammarNode reserved, absl::Span<const GrammarNode> alternatives);
  // Chains are for Grammar::Nearer: element k reads k more times, or each at most k more times, a part that
  // is never empty, and then goes on like element 0. Extend adds the next element, beginning with k = 0.
  int AddChain();
  void Extend(int chain, GrammarNode node);

  bool full() const { return nodes_.size() > static_cast<size_t>(kMaxNodes) || budget_.spent(); }
  // INVALID_ARGUMENT that names the limit if it is full.
  absl::Status Check() const;

  // The grammar that begins with `root`; the builder is used up. INVALID_ARGUMENT as of Check, if a rule
  // calls itself before it reads anything (left recursion; the message names it), or if nothing matches.
  // REQUIRES: every rule that is called is defined.
  absl::StatusOr<Grammar> Build(GrammarRule root) &&;

 private:
  struct Rule {
    std::string name;
    GrammarNode start = 0;
  };

  GrammarNode Add(Grammar::Node node);
  std::vector<bool> Reaching(bool over_bytes) const;
  void Prune(const std::vector<bool>& productive);
  std::vector<GrammarRule> FirstCalls(GrammarRule rule, const std::vector<bool>& nullable) const;
  absl::Status CheckLeftRecursion(const std::vector<bool>& nullable) const;

  CompileBudget& budget_;
  std::vector<std::vector<GrammarNode>> chains_;
  std::vector<Grammar::Node> nodes_;  // while it builds, `other` of a call is its rule
  std::vector<Rule> rules_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_GRAMMAR_H_
