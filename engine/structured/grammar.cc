#include "engine/structured/grammar.h"

#include <algorithm>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/strings.h"

namespace memgate {
namespace {

using Kind = Grammar::Kind;

constexpr GrammarNode kEndNode = 0;
constexpr GrammarNode kNothing = 1;  // a choice of itself: nothing matches

// A node while the vector grows, its link, and what Build notes about it; a rule likewise.
constexpr int64_t kNodeBytes = 96;
constexpr int64_t kRuleBytes = 160;
constexpr int64_t kStepsOfBuild = 4;  // for each node

// The sources of edges, by where they lead.
class Incoming {
 public:
  struct Edge {
    int32_t from = 0, to = 0;
  };

  // REQUIRES: every edge leads to one of 0..targets-1.
  Incoming(size_t targets, const std::vector<Edge>& edges) : begins_(targets + 1, 0), sources_(edges.size()) {
    for (const Edge& edge : edges) ++begins_[edge.to + 1];
    std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
    std::vector<int32_t> next(begins_);
    for (const Edge& edge : edges) sources_[next[edge.to]++] = edge.from;
  }

  absl::Span<const int32_t> Of(int32_t target) const {
    return absl::MakeConstSpan(sources_).subspan(begins_[target], begins_[target + 1] - begins_[target]);
  }

 private:
  std::vector<int32_t> begins_;  // in sources_, of each target; and the end of the last one's
  std::vector<int32_t> sources_;
};

}  // namespace

GrammarNode Grammar::Nearer(GrammarNode node, int64_t bytes) const {
  const auto link = links_.find(node);
  if (link == links_.end() || link->second.index <= bytes) return node;
  return chains_[link->second.chain][bytes];
}

int64_t Grammar::bytes() const {
  constexpr size_t kLinkBytes = 40;  // in both tables
  return static_cast<int64_t>(nodes_.size() * sizeof(Node) + links_.size() * kLinkBytes);
}

GrammarBuilder::GrammarBuilder(CompileBudget& budget) : budget_(budget) {
  nodes_.push_back({.kind = Kind::kEnd});
  nodes_.push_back({.kind = Kind::kChoice, .next = kNothing, .other = kNothing});
}

GrammarNode GrammarBuilder::Add(Grammar::Node node) {
  if (full()) return kNothing;
  budget_.Step(1 + kStepsOfBuild);
  budget_.Hold(kNodeBytes);
  nodes_.push_back(node);
  return static_cast<GrammarNode>(nodes_.size() - 1);
}

GrammarRule GrammarBuilder::AddRule(std::string name) {
  budget_.Step();
  budget_.Hold(kRuleBytes + static_cast<int64_t>(name.size()));
  rules_.push_back({std::move(name), kNothing});
  return static_cast<GrammarRule>(rules_.size() - 1);
}

GrammarNode GrammarBuilder::Bytes(ByteRange range, GrammarNode next) {
  return Add({.kind = Kind::kBytes, .first = range.first, .last = range.last, .next = next});
}

GrammarNode GrammarBuilder::Literal(std::string_view text, GrammarNode next) {
  for (size_t i = text.size(); i > 0; --i) {
    const uint8_t byte = static_cast<uint8_t>(text[i - 1]);
    next = Bytes({byte, byte}, next);
  }
  return next;
}

GrammarNode GrammarBuilder::Characters(const CodePointSet& set, GrammarNode next) {
  budget_.Step(static_cast<int64_t>(set.ranges().size()));
  if (full()) return kNothing;
  // What several sequences end in (the continuation bytes 80..BF, mostly) is built once.
  absl::flat_hash_map<std::pair<uint16_t, GrammarNode>, GrammarNode> built;
  std::vector<GrammarNode> alternatives;
  const auto add = [&](const ByteSequence& sequence) {
    GrammarNode at = next;
    for (auto range = sequence.rbegin(); range != sequence.rend(); ++range) {
      const std::pair key{static_cast<uint16_t>(range->first << 8 | range->last), at};
      const auto [entry, is_new] = built.try_emplace(key, kNothing);
      if (is_new) entry->second = Bytes(*range, at);
      at = entry->second;
    }
    alternatives.push_back(at);
  };
  for (const CodePointRange& range : set.ranges()) {
    for (const ByteSequence& sequence : Utf8Sequences(CodePointSet(std::vector<CodePointRange>{range})))
      add(sequence);
    if (full()) return kNothing;
  }
  return Choice(alternatives);
}

GrammarNode GrammarBuilder::Call(GrammarRule rule, GrammarNode next) {
  return Add({.kind = Kind::kCall, .next = next, .other = rule});
}

GrammarNode GrammarBuilder::Choice(absl::Span<const GrammarNode> alternatives) {
  if (alternatives.empty()) return kNothing;
  GrammarNode choice = alternatives.back();
  for (size_t i = alternatives.size() - 1; i > 0; --i) {
    choice = Add({.kind = Kind::kChoice, .next = alternatives[i - 1], .other = choice});
  }
  return choice;
}

GrammarNode GrammarBuilder::Reserve() {
  return Add({.kind = Kind::kChoice, .next = kNothing, .other = kNothing});
}

void GrammarBuilder::Fill(GrammarNode reserved, absl::Span<const GrammarNode> alternatives) {
  if (reserved == kNothing || alternatives.empty()) return;  // there was no room for it, or nothing matches
  const GrammarNode others = alternatives.size() > 1 ? Choice(alternatives.subspan(1)) : alternatives.front();
  nodes_[reserved].next = alternatives.front();
  nodes_[reserved].other = others;
}

int GrammarBuilder::AddChain() {
  chains_.emplace_back();
  return static_cast<int>(chains_.size() - 1);
}

void GrammarBuilder::Extend(int chain, GrammarNode node) { chains_[chain].push_back(node); }

absl::Status GrammarBuilder::Check() const {
  if (nodes_.size() <= static_cast<size_t>(kMaxNodes)) return budget_.Check();
  return absl::InvalidArgumentError(
      Concat("takes more than ", kMaxNodes, " positions up to here; lower its lengths or counts"));
}

GrammarNode GrammarBuilder::Repeat(absl::FunctionRef<GrammarNode(GrammarNode next)> part, int64_t min,
                                   int64_t max, GrammarNode next) {
  GrammarNode at = next;
  if (max < 0) {
    at = Reserve();
    Fill(at, {part(at), next});
  }
  // Each of the optional ones may be the first that is left out.
  for (int64_t i = min; i < max && !full(); ++i) at = Choice({part(at), next});
  for (int64_t i = 0; i < min && !full(); ++i) {
    const GrammarNode before = at;
    at = part(before);
    if (at == before) break;  // an empty part, however often
  }
  return at;
}

// For every node whether the end of its rule can be reached from it: over any edges, or without reading a
// byte.
std::vector<bool> GrammarBuilder::Reaching(bool over_bytes) const {
  std::vector<Incoming::Edge> edges, calls, starts;  // node to node, call to rule, rule to node
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Grammar::Node& node = nodes_[i];
    if (node.kind == Kind::kEnd || (node.kind == Kind::kBytes && !over_bytes)) continue;
    const int32_t from = static_cast<int32_t>(i);
    edges.push_back({from, node.next});
    if (node.kind == Kind::kChoice) edges.push_back({from, node.other});
    if (node.kind == Kind::kCall) calls.push_back({from, node.other});
  }
  for (size_t rule = 0; rule < rules_.size(); ++rule) {
    starts.push_back({static_cast<int32_t>(rule), rules_[rule].start});
  }
  const Incoming before(nodes_.size(), edges), rules_at(nodes_.size(), starts), callers(rules_.size(), calls);
  std::vector<bool> reaches(nodes_.size(), false);
  std::vector<GrammarNode> work = {kEndNode};
  const auto reach = [&](GrammarNode i) {
    const Grammar::Node& node = nodes_[i];
    if (reaches[i]) return;
    if (node.kind == Kind::kCall && !(reaches[node.next] && reaches[rules_[node.other].start])) return;
    reaches[i] = true;
    work.push_back(i);
  };
  reaches[kEndNode] = true;
  while (!work.empty()) {
    const GrammarNode at = work.back();
    work.pop_back();
    for (const GrammarNode i : before.Of(at)) reach(i);
    for (const GrammarRule rule : rules_at.Of(at)) {
      for (const GrammarNode i : callers.Of(rule)) reach(i);
    }
  }
  return reaches;
}

// Leaves no way into a node that is not productive but through rules that nothing calls.
void GrammarBuilder::Prune(const std::vector<bool>& productive) {
  for (Grammar::Node& node : nodes_) {
    if (node.kind != Kind::kChoice) continue;
    if (!productive[node.other]) node.other = node.next;
    if (!productive[node.next]) node.next = node.other;
  }
}

// The rules that `rule` may call before it has read a byte.
std::vector<GrammarRule> GrammarBuilder::FirstCalls(GrammarRule rule,
                                                    const std::vector<bool>& nullable) const {
  std::vector<GrammarRule> calls;
  absl::flat_hash_set<GrammarNode> seen;
  std::vector<GrammarNode> work = {rules_[rule].start};
  while (!work.empty()) {
    const GrammarNode at = work.back();
    work.pop_back();
    if (!seen.insert(at).second) continue;
    const Grammar::Node& node = nodes_[at];
    if (node.kind == Kind::kChoice) {
      work.push_back(node.next);
      work.push_back(node.other);
    } else if (node.kind == Kind::kCall) {
      calls.push_back(node.other);
      if (nullable[rules_[node.other].start]) work.push_back(node.next);
    }
  }
  return calls;
}

absl::Status GrammarBuilder::CheckLeftRecursion(const std::vector<bool>& nullable) const {
  enum class Mark : uint8_t { kNew, kOpen, kDone };
  struct Visit {
    GrammarRule rule;
    std::vector<GrammarRule> calls;  // still to be looked at
  };
  std::vector<Mark> marks(rules_.size(), Mark::kNew);
  for (size_t first = 0; first < rules_.size(); ++first) {
    std::vector<Visit> path;
    const auto enter = [&](GrammarRule rule) {
      marks[rule] = Mark::kOpen;
      path.push_back({rule, FirstCalls(rule, nullable)});
    };
    if (marks[first] == Mark::kNew) enter(static_cast<GrammarRule>(first));
    while (!path.empty()) {
      if (path.back().calls.empty()) {
        marks[path.back().rule] = Mark::kDone;
        path.pop_back();
        continue;
      }
      const GrammarRule next = path.back().calls.back();
      path.back().calls.pop_back();
      if (marks[next] == Mark::kOpen) {
        return absl::InvalidArgumentError(Concat(
            "rule \"", rules_[next].name, "\" calls itself before it reads anything (left recursion)"));
      }
      if (marks[next] == Mark::kNew) enter(next);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Grammar> GrammarBuilder::Build(GrammarRule root) && {
  if (absl::Status status = Check(); !status.ok()) return status;
  const std::vector<bool> productive = Reaching(/*over_bytes=*/true);
  if (!productive[rules_[root].start]) return absl::InvalidArgumentError("no text matches");
  Prune(productive);
  if (absl::Status status = CheckLeftRecursion(Reaching(/*over_bytes=*/false)); !status.ok()) return status;
  Grammar grammar;
  nodes_.shrink_to_fit();
  grammar.nodes_ = std::move(nodes_);
  for (Grammar::Node& node : grammar.nodes_) {
    if (node.kind == Kind::kCall) node.other = rules_[node.other].start;
  }
  grammar.start_ = rules_[root].start;
  // Chains may end in one node, but their first elements are not looked up.
  for (size_t c = 0; c < chains_.size(); ++c) {
    for (size_t i = 1; i < chains_[c].size(); ++i) {
      grammar.links_[chains_[c][i]] = {static_cast<int32_t>(c), static_cast<int32_t>(i)};
    }
  }
  grammar.chains_ = std::move(chains_);
  return grammar;
}

}  // namespace memgate
