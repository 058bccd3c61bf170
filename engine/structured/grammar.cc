#include "engine/structured/grammar.h"

#include <algorithm>
#include <optional>

#include "engine/base/strings.h"

namespace memgate {
namespace {

using Kind = Grammar::Kind;

constexpr GrammarNode kEndNode = 0;
constexpr GrammarNode kNothing = 1;  // a choice of itself: nothing matches

}  // namespace

GrammarBuilder::GrammarBuilder() {
  nodes_.push_back({.kind = Kind::kEnd});
  nodes_.push_back({.kind = Kind::kChoice, .next = kNothing, .other = kNothing});
}

GrammarNode GrammarBuilder::Add(Grammar::Node node) {
  if (full()) return kNothing;
  nodes_.push_back(node);
  return static_cast<GrammarNode>(nodes_.size() - 1);
}

GrammarRule GrammarBuilder::AddRule(std::string name) {
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
  // What several sequences end in (the continuation bytes 80..BF, mostly) is built once.
  absl::flat_hash_map<std::pair<uint16_t, GrammarNode>, GrammarNode> built;
  std::vector<GrammarNode> alternatives;
  for (const ByteSequence& sequence : Utf8Sequences(set)) {
    GrammarNode at = next;
    for (auto range = sequence.rbegin(); range != sequence.rend(); ++range) {
      const std::pair key{static_cast<uint16_t>(range->first << 8 | range->last), at};
      const auto [entry, is_new] = built.try_emplace(key, kNothing);
      if (is_new) entry->second = Bytes(*range, at);
      at = entry->second;
    }
    alternatives.push_back(at);
  }
  return Choice(alternatives);
}

GrammarNode GrammarBuilder::Call(GrammarRule rule, GrammarNode next) {
  return Add({.kind = Kind::kCall, .next = next, .other = rule});
}

GrammarNode GrammarBuilder::Choice(const std::vector<GrammarNode>& alternatives) {
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

void GrammarBuilder::Fill(GrammarNode reserved, GrammarNode first, GrammarNode second) {
  if (reserved == kNothing) return;  // there was no room for it
  nodes_[reserved].next = first;
  nodes_[reserved].other = second;
}

GrammarNode GrammarBuilder::Repeat(absl::FunctionRef<GrammarNode(GrammarNode next)> part, int64_t min,
                                   int64_t max, GrammarNode next) {
  GrammarNode at = next;
  if (max < 0) {
    at = Reserve();
    Fill(at, part(at), next);
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
  const size_t count = nodes_.size();
  // Edges backwards: who may be able to reach the end once a node, or the start of a rule, can.
  std::vector<std::vector<GrammarNode>> before(count), callers(rules_.size());
  std::vector<std::vector<GrammarRule>> starts(count);
  for (size_t i = 0; i < count; ++i) {
    const Grammar::Node& node = nodes_[i];
    if (node.kind == Kind::kEnd || (node.kind == Kind::kBytes && !over_bytes)) continue;
    before[node.next].push_back(static_cast<GrammarNode>(i));
    if (node.kind == Kind::kChoice) before[node.other].push_back(static_cast<GrammarNode>(i));
    if (node.kind == Kind::kCall) callers[node.other].push_back(static_cast<GrammarNode>(i));
  }
  for (size_t rule = 0; rule < rules_.size(); ++rule) {
    starts[rules_[rule].start].push_back(static_cast<GrammarRule>(rule));
  }
  std::vector<bool> reaches(count, false);
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
    for (const GrammarNode i : before[at]) reach(i);
    for (const GrammarRule rule : starts[at]) {
      for (const GrammarNode i : callers[rule]) reach(i);
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
  absl::flat_hash_map<GrammarNode, bool> seen;
  std::vector<GrammarNode> work = {rules_[rule].start};
  while (!work.empty()) {
    const GrammarNode at = work.back();
    work.pop_back();
    if (!seen.try_emplace(at, true).second) continue;
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
  if (full()) {
    return absl::InvalidArgumentError(
        Concat("more than ", kMaxNodes, " positions; repeat less or fewer things"));
  }
  const std::vector<bool> productive = Reaching(/*over_bytes=*/true);
  if (!productive[rules_[root].start]) return absl::InvalidArgumentError("no text matches");
  Prune(productive);
  if (absl::Status status = CheckLeftRecursion(Reaching(/*over_bytes=*/false)); !status.ok()) return status;
  Grammar grammar;
  grammar.nodes_ = std::move(nodes_);
  for (Grammar::Node& node : grammar.nodes_) {
    if (node.kind == Kind::kCall) node.other = rules_[node.other].start;
  }
  grammar.start_ = rules_[root].start;
  return grammar;
}

}  // namespace memgate
