#include "engine/structured/automaton.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"

namespace memgate {
namespace {

using Kind = Grammar::Kind;

// The entry below which there is no call: the end of the root rule is the end of the text.
constexpr GrammarNode kBottom = -1;
constexpr int32_t kNoStacks = 0;

// Sets of stacks differ in their upper part, if at all: states whose calls are nested deeper before two sets
// of them meet belong to grammars that were made to be hard.
constexpr int kMaxUnionDepth = 1000;

constexpr size_t kMaxEdges = 4;        // of a row that is searched; others are tables
constexpr int64_t kStateBytes = 160;   // a state and its place in the hash table, without what it points to
constexpr int64_t kStacksBytes = 128;  // the same for a set of stacks
constexpr int64_t kUnionBytes = 40;
constexpr int64_t kCostlyStateBytes = 96;
constexpr int64_t kManySteps = 64;

}  // namespace

Automaton::Automaton(std::shared_ptr<const Grammar> grammar, int64_t max_bytes, int64_t steps)
    : grammar_(std::move(grammar)), max_bytes_(max_bytes), steps_left_(steps) {
  Reset();
  start_ = StateOf({{grammar_->start(), InternStacks({kBottom, kNoStacks})}});
}

void Automaton::Reset() {
  states_.clear();
  state_numbers_.clear();
  stacks_.clear();
  stacks_numbers_.clear();
  unions_.clear();
  costly_states_.clear();
  bytes_ = 0;
  InternState({}, false);  // kDead
  InternStacks({});        // kNoStacks
}

void Automaton::Allow(int64_t steps) {
  steps_left_ = steps;
  exhausted_ = bytes_ > max_bytes_;
}

// False if nothing more may be computed.
bool Automaton::Step(int64_t steps) {
  if (steps_left_ < steps) exhausted_ = true;
  if (exhausted_) return false;
  steps_left_ -= steps;
  return true;
}

void Automaton::Charge(int64_t bytes) {
  bytes_ += bytes;
  if (bytes_ > max_bytes_) exhausted_ = true;
}

Automaton::Stacks Automaton::InternStacks(std::vector<int32_t> entries) {
  const auto known = stacks_numbers_.find(entries);
  if (known != stacks_numbers_.end()) return known->second;
  Charge(kStacksBytes + static_cast<int64_t>(entries.size() * sizeof(int32_t)));
  const Stacks number = static_cast<Stacks>(stacks_.size());
  stacks_.push_back(std::move(entries));
  stacks_numbers_.emplace(absl::MakeConstSpan(stacks_.back()), number);
  return number;
}

// A call that ends where its caller ends needs no entry: the caller's own will do. So lists that are written
// as recursion at the end of a rule need no deeper stack for each element.
Automaton::Stacks Automaton::Push(GrammarNode return_to, Stacks stacks) {
  if (grammar_->node(return_to).kind == Kind::kEnd) return stacks;
  return InternStacks({return_to, stacks});
}

Automaton::Stacks Automaton::Union(Stacks a, Stacks b, int depth) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);
  const auto known = unions_.find({a, b});
  if (known != unions_.end()) return known->second;
  if (depth > kMaxUnionDepth) exhausted_ = true;
  std::vector<int32_t> merged;
  // By index: a nested Union may move the vectors.
  for (size_t i = 0, j = 0; i < stacks_[a].size() || j < stacks_[b].size();) {
    if (!Step()) return a;
    const bool from_a = j == stacks_[b].size() || (i < stacks_[a].size() && stacks_[a][i] <= stacks_[b][j]);
    const bool from_b = i == stacks_[a].size() || (j < stacks_[b].size() && stacks_[b][j] <= stacks_[a][i]);
    merged.push_back(from_a ? stacks_[a][i] : stacks_[b][j]);
    const Stacks below = from_a && from_b ? Union(stacks_[a][i + 1], stacks_[b][j + 1], depth + 1)
                                          : (from_a ? stacks_[a][i + 1] : stacks_[b][j + 1]);
    merged.push_back(below);
    if (from_a) i += 2;
    if (from_b) j += 2;
  }
  if (exhausted_) return a;  // what lies below may be wrong
  const Stacks both = InternStacks(std::move(merged));
  Charge(kUnionBytes);
  unions_.emplace(std::pair{a, b}, both);
  return both;
}

Automaton::State Automaton::InternState(std::vector<int32_t> places, bool accepts) {
  if (accepts) places.push_back(1);
  const auto known = state_numbers_.find(places);
  if (known != state_numbers_.end()) return known->second;
  Charge(kStateBytes + static_cast<int64_t>(places.size() * sizeof(int32_t)));
  const State number = static_cast<State>(states_.size());
  states_.push_back({.places = std::move(places), .accepts = accepts});
  state_numbers_.emplace(absl::MakeConstSpan(states_.back().places), number);
  return number;
}

// Sorts by node and unites the stacks of equal ones.
std::vector<int32_t> Automaton::MergedPlaces(std::vector<Place> places) {
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.node != b.node ? a.node < b.node : a.stacks < b.stacks;
  });
  std::vector<int32_t> merged;
  for (const Place& place : places) {
    if (!merged.empty() && merged[merged.size() - 2] == place.node) {
      merged.back() = Union(merged.back(), place.stacks);
    } else {
      merged.push_back(place.node);
      merged.push_back(place.stacks);
    }
  }
  return merged;
}

// The state of all that `places` can reach without reading. Many rows lead to the same ones.
Automaton::State Automaton::StateOf(const std::vector<Place>& places) {
  std::vector<int32_t> key;
  for (const Place& place : places) key.insert(key.end(), {place.node, place.stacks});
  if (const auto known = costly_states_.find(key); known != costly_states_.end()) return known->second;
  const int64_t steps_before = steps_left_;
  const State state = ComputeState(places);
  if (!exhausted_ && steps_before - steps_left_ > kManySteps) {
    Charge(kCostlyStateBytes + static_cast<int64_t>(key.size() * sizeof(int32_t)));
    costly_states_.emplace(std::move(key), state);
  }
  return state;
}

Automaton::State Automaton::ComputeState(std::vector<Place> work) {
  std::vector<Place> reading;
  bool accepts = false;
  absl::flat_hash_set<std::pair<GrammarNode, Stacks>> seen;
  while (!work.empty()) {
    const Place at = work.back();
    work.pop_back();
    if (seen.size() + work.size() > kMaxPlaces) exhausted_ = true;
    if (!Step()) return kDead;
    if (!seen.insert({at.node, at.stacks}).second) continue;
    const Grammar::Node& node = grammar_->node(at.node);
    switch (node.kind) {
      case Kind::kBytes:
        reading.push_back(at);
        break;
      case Kind::kChoice:
        work.push_back({node.next, at.stacks});
        if (node.other != node.next) work.push_back({node.other, at.stacks});
        break;
      case Kind::kCall:
        work.push_back({node.other, Push(node.next, at.stacks)});
        break;
      case Kind::kEnd: {
        const absl::Span<const int32_t> entries = EntriesOf(at.stacks);
        for (size_t i = 0; i < entries.size(); i += 2) {
          if (entries[i] == kBottom) {
            accepts = true;
          } else {
            work.push_back({entries[i], entries[i + 1]});
          }
        }
        break;
      }
    }
  }
  std::vector<int32_t> places = MergedPlaces(std::move(reading));
  return exhausted_ ? kDead : InternState(std::move(places), accepts);
}

// Where bytes lead to from `state`: for each stretch between two borders, as the same happens within it.
std::vector<std::vector<Automaton::Place>> Automaton::PlacesAfter(State state,
                                                                  absl::Span<const int> borders) {
  const std::vector<int32_t>& key = states_[state].places;
  std::vector<std::vector<Place>> after(borders.size());
  size_t count = 0;
  for (size_t i = 0; i + 1 < key.size(); i += 2) {
    const Grammar::Node& node = grammar_->node(key[i]);
    const auto first = std::lower_bound(borders.begin(), borders.end(), int{node.first});
    for (auto border = first; *border <= node.last; ++border) {
      if (++count > kMaxPlaces) exhausted_ = true;
      if (!Step()) return after;
      after[border - borders.begin()].push_back({node.next, key[i + 1]});
    }
  }
  return after;
}

std::unique_ptr<Automaton::Row> Automaton::ComputeRow(State state) {
  const std::vector<int32_t>& key = states_[state].places;
  auto row = std::make_unique<Row>();
  if (!Step(static_cast<int64_t>(key.size()))) return row;
  std::vector<int> borders;  // where what happens may change
  for (size_t i = 0; i + 1 < key.size(); i += 2) {
    borders.push_back(grammar_->node(key[i]).first);
    borders.push_back(grammar_->node(key[i]).last + 1);
  }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());

  std::vector<std::vector<Place>> places = PlacesAfter(state, borders);
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    const std::vector<Place>& after = places[i];
    if (after.empty()) continue;
    const State target = StateOf(after);
    const uint8_t first = static_cast<uint8_t>(borders[i]);
    const uint8_t last = static_cast<uint8_t>(borders[i + 1] - 1);
    if (!row->edges_.empty() && row->edges_.back().target == target && row->edges_.back().last + 1 == first) {
      row->edges_.back().last = last;
    } else {
      row->edges_.push_back({first, last, target});
    }
  }
  return row;
}

const Automaton::Row& Automaton::RowOf(State state) {
  if (states_[state].row != nullptr) return *states_[state].row;
  std::unique_ptr<Row> row = ComputeRow(state);
  for (const Row::Edge& edge : row->edges_) {
    if (edge.target != state) continue;
    for (int byte = edge.first; byte <= edge.last; ++byte) row->loop_.set(byte);
  }
  Charge(static_cast<int64_t>(sizeof(Row) + row->edges_.size() * sizeof(Row::Edge)));
  if (row->edges_.size() > kMaxEdges) {
    row->dense_ = std::make_unique<State[]>(256);
    for (const Row::Edge& edge : row->edges_) {
      std::fill(&row->dense_[edge.first], &row->dense_[edge.last] + 1, edge.target);
    }
    row->edges_ = {};
    Charge(256 * sizeof(State));
  }
  if (exhausted_) return no_row_;  // the row may be wrong, so it is not kept
  states_[state].row = std::move(row);
  return *states_[state].row;
}

// Where the innermost calls return to decides: what lies further out is the same.
Automaton::Stacks Automaton::NearerStacks(Stacks stacks, int64_t bytes) {
  const std::vector<int32_t>& entries = stacks_[stacks];
  std::vector<Place> nearer;
  bool same = true;
  for (size_t i = 0; i < entries.size() && Step(); i += 2) {
    const GrammarNode node = entries[i] == kBottom ? kBottom : grammar_->Nearer(entries[i], bytes);
    same = same && node == entries[i];
    nearer.push_back({node, entries[i + 1]});
  }
  return same || exhausted_ ? stacks : InternStacks(MergedPlaces(std::move(nearer)));
}

Automaton::State Automaton::Nearer(State state, int64_t bytes) {
  if (states_[state].nearer != kDead) return states_[state].nearer;
  const std::vector<int32_t>& key = states_[state].places;
  absl::flat_hash_map<Stacks, Stacks> known;
  std::vector<Place> places;
  for (size_t i = 0; i + 1 < key.size() && Step(); i += 2) {
    const auto [entry, is_new] = known.try_emplace(key[i + 1], kNoStacks);
    if (is_new) entry->second = NearerStacks(key[i + 1], bytes);
    places.push_back({key[i], entry->second});
  }
  std::vector<int32_t> merged = MergedPlaces(std::move(places));
  if (exhausted_) return state;
  const State nearer = InternState(std::move(merged), states_[state].accepts);
  return states_[state].nearer = nearer;
}

Automaton::State Automaton::Advance(State state, std::string_view text) {
  for (const char c : text) {
    if (state == kDead) return kDead;
    state = RowOf(state).Next(static_cast<uint8_t>(c));
  }
  return state;
}

void Automaton::Compact(absl::Span<State* const> kept) {
  std::vector<State*> all(kept.begin(), kept.end());
  all.push_back(&start_);
  // Stacks refer to lower numbers only, so one pass down finds those in use and one pass up numbers them.
  std::vector<std::vector<int32_t>> old_stacks = std::move(stacks_);
  std::vector<StateData> old_states = std::move(states_);
  for (StateData& state : old_states) state.row.reset();
  std::vector<bool> used(old_stacks.size(), false);
  for (const State* state : all) {
    const std::vector<int32_t>& places = old_states[*state].places;
    for (size_t i = 0; i + 1 < places.size(); i += 2) used[places[i + 1]] = true;
  }
  for (size_t i = old_stacks.size(); i > 0; --i) {
    if (!used[i - 1]) continue;
    for (size_t e = 0; e < old_stacks[i - 1].size(); e += 2) used[old_stacks[i - 1][e + 1]] = true;
  }
  Reset();
  std::vector<Stacks> renumbered(old_stacks.size(), kNoStacks);
  for (size_t i = 0; i < old_stacks.size(); ++i) {
    if (!used[i]) continue;
    std::vector<int32_t> entries = std::move(old_stacks[i]);
    for (size_t e = 0; e < entries.size(); e += 2) entries[e + 1] = renumbered[entries[e + 1]];
    renumbered[i] = InternStacks(std::move(entries));
  }
  for (State* state : all) {
    std::vector<int32_t> places = old_states[*state].places;
    const bool accepts = old_states[*state].accepts;
    if (accepts) places.pop_back();
    for (size_t i = 0; i < places.size(); i += 2) places[i + 1] = renumbered[places[i + 1]];
    *state = InternState(std::move(places), accepts);
  }
}

}  // namespace memgate
