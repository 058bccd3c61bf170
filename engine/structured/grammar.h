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
#include "absl/status/statusor.h"
#include "engine/structured/code_points.h"

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
  int64_t bytes() const { return static_cast<int64_t>(nodes_.size() * sizeof(Node)); }

 private:
  friend class GrammarBuilder;
  std::vector<Node> nodes_;
  GrammarNode start_ = 0;
};

// Builds networks backwards: every method takes the node to go on at and returns the node to begin with. Not
// thread-safe.
//
// Work and memory are bounded: past kMaxNodes nodes nothing grows any more, what is returned means nothing,
// and Build fails. Callers that loop look at full().
class GrammarBuilder {
 public:
  static constexpr int kMaxNodes = 1 << 17;

  GrammarBuilder();

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
  GrammarNode Choice(const std::vector<GrammarNode>& alternatives);
  // `part` builds one repetition in front of the node it is given. `max` < 0 = any number.
  GrammarNode Repeat(absl::FunctionRef<GrammarNode(GrammarNode next)> part, int64_t min, int64_t max,
                     GrammarNode next);
  // A choice whose alternatives are not known yet.
  GrammarNode Reserve();
  // REQUIRES: Reserve returned `reserved`, and this is the first call for it.
  void Fill(GrammarNode reserved, GrammarNode first, GrammarNode second);

  bool full() const { return nodes_.size() >= static_cast<size_t>(kMaxNodes); }

  // The grammar that begins with `root`; the builder is spent. INVALID_ARGUMENT if it is too large, if a rule
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

  std::vector<Grammar::Node> nodes_;  // while it builds, `other` of a call is its rule
  std::vector<Rule> rules_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_GRAMMAR_H_
