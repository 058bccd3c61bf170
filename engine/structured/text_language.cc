#include "engine/structured/text_language.h"

#include <algorithm>
#include <utility>

#include "engine/base/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// Steps of all automata together. Some tens of nanoseconds each.
constexpr int64_t kMaxWork = 20'000'000;

std::vector<char32_t> CharactersOf(std::string_view text) {
  std::vector<char32_t> characters;
  while (!text.empty()) {
    const Utf8Step step = ReadUtf8(text);
    characters.push_back(step.code_point);
    text.remove_prefix(step.bytes);
  }
  return characters;
}

}  // namespace

bool TextAutomaton::Matches(std::string_view text) const {
  int32_t state = 0;
  for (const char32_t character : CharactersOf(text)) {
    const auto edge = std::find_if(states[state].edges.begin(), states[state].edges.end(),
                                   [&](const Edge& e) { return e.characters.Contains(character); });
    if (edge == states[state].edges.end()) return false;
    state = edge->target;
  }
  return states[state].accepts;
}

TextLanguages::TextLanguages() {
  Intern({static_cast<int64_t>(Kind::kNothing)}, false);
  Intern({static_cast<int64_t>(Kind::kEmpty)}, true);
  any_ = Repeat(Character(CodePointSet::All()), 0, -1);
}

TextLanguages::Expression TextLanguages::Intern(Key key, bool nullable) {
  const auto known = numbers_.find(key);
  if (known != numbers_.end()) return known->second;
  if (keys_.size() >= kMaxExpressions) full_ = true;
  if (full_) return kNothing;
  const Expression number = static_cast<Expression>(keys_.size());
  keys_.push_back(std::move(key));
  nullable_.push_back(nullable);
  numbers_.emplace(absl::MakeConstSpan(keys_.back()), number);
  return number;
}

TextLanguages::Expression TextLanguages::Character(const CodePointSet& set) {
  if (set.empty()) return kNothing;
  const auto [entry, is_new] = set_numbers_.try_emplace(set, static_cast<int64_t>(sets_.size()));
  if (is_new) sets_.push_back(set);
  return Intern({static_cast<int64_t>(Kind::kCharacter), entry->second}, false);
}

TextLanguages::Expression TextLanguages::Literal(std::string_view text) {
  const std::vector<char32_t> characters = CharactersOf(text);
  Expression literal = kEmpty;
  for (auto c = characters.rbegin(); c != characters.rend(); ++c) {
    literal = Join(Character(CodePointSet::Of(*c)), literal);
  }
  return literal;
}

TextLanguages::Expression TextLanguages::Join(Expression a, Expression b) {
  if (a == kNothing || b == kNothing) return kNothing;
  if (a == kEmpty) return b;
  if (b == kEmpty) return a;
  // To the right, so that equal texts are equal expressions.
  std::vector<Expression> heads;
  for (; KindOf(a) == Kind::kConcat; a = Part(a, 1)) heads.push_back(Part(a, 0));
  heads.push_back(a);
  for (auto head = heads.rbegin(); head != heads.rend(); ++head) {
    b = Intern({static_cast<int64_t>(Kind::kConcat), *head, b}, nullable_[*head] && nullable_[b]);
  }
  return b;
}

// Associative, commutative and idempotent, so that a language has finitely many derivatives.
TextLanguages::Expression TextLanguages::Combine(Kind kind, std::vector<Expression> parts) {
  const Expression absorbing = kind == Kind::kEither ? any_ : kNothing;
  const Expression neutral = kind == Kind::kEither ? kNothing : any_;
  std::vector<Expression> flat;
  for (const Expression part : parts) {
    if (part == absorbing) return absorbing;
    if (part == neutral) continue;
    if (KindOf(part) == kind) {
      for (size_t i = 0; i + 1 < keys_[part].size(); ++i) flat.push_back(Part(part, i));
    } else {
      flat.push_back(part);
    }
  }
  work_ += static_cast<int64_t>(flat.size());
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return neutral;
  if (flat.size() == 1) return flat.front();
  const auto is_nullable = [this](Expression e) { return nullable_[e]; };
  const bool nullable = kind == Kind::kEither ? std::any_of(flat.begin(), flat.end(), is_nullable)
                                              : std::all_of(flat.begin(), flat.end(), is_nullable);
  Key key = {static_cast<int64_t>(kind)};
  key.insert(key.end(), flat.begin(), flat.end());
  return Intern(std::move(key), nullable);
}

TextLanguages::Expression TextLanguages::Not(Expression a) {
  if (a == kNothing) return any_;
  if (a == any_) return kNothing;
  if (KindOf(a) == Kind::kNot) return Part(a, 0);
  return Intern({static_cast<int64_t>(Kind::kNot), a}, !nullable_[a]);
}

TextLanguages::Expression TextLanguages::Repeat(Expression a, int64_t min, int64_t max) {
  if (max == 0 || a == kEmpty) return kEmpty;
  if (a == kNothing) return min == 0 ? kEmpty : kNothing;
  if (min == 1 && max == 1) return a;
  if (nullable_[a]) min = 0;
  if (KindOf(a) == Kind::kRepeat && keys_[a][2] == 0 && keys_[a][3] < 0) return a;  // (x*)* and the like
  return Intern({static_cast<int64_t>(Kind::kRepeat), a, min, max}, min == 0);
}

TextLanguages::Expression TextLanguages::Derivative(Expression e, char32_t character, Derivatives& known) {
  if (const auto found = known.find(e); found != known.end()) return found->second;
  if (++work_ > kMaxWork) full_ = true;
  if (full_) return kNothing;
  const Expression derivative = DerivativeOfParts(e, character, known);
  known.emplace(e, derivative);
  return derivative;
}

TextLanguages::Expression TextLanguages::DerivativeOfParts(Expression e, char32_t character,
                                                           Derivatives& known) {
  switch (KindOf(e)) {
    case Kind::kNothing:
    case Kind::kEmpty:
      return kNothing;
    case Kind::kCharacter:
      return sets_[keys_[e][1]].Contains(character) ? kEmpty : kNothing;
    case Kind::kConcat: {
      const Expression a = Part(e, 0);
      const Expression b = Part(e, 1);
      const Expression first = Join(Derivative(a, character, known), b);
      return nullable_[a] ? Either(first, Derivative(b, character, known)) : first;
    }
    case Kind::kEither:
    case Kind::kBoth: {
      const Kind kind = KindOf(e);
      const Key key = keys_[e];
      std::vector<Expression> parts;
      for (size_t i = 1; i < key.size(); ++i) {
        parts.push_back(Derivative(static_cast<Expression>(key[i]), character, known));
      }
      return Combine(kind, std::move(parts));
    }
    case Kind::kNot:
      return Not(Derivative(Part(e, 0), character, known));
    case Kind::kRepeat: {
      const Expression a = Part(e, 0);
      const int64_t min = keys_[e][2];
      const int64_t max = keys_[e][3];
      const Expression rest = Repeat(a, std::max<int64_t>(min - 1, 0), max < 0 ? max : max - 1);
      return Join(Derivative(a, character, known), rest);
    }
    case Kind::kResidue: {
      if (character < '0' || character > '9') return kNothing;
      const int64_t divisor = keys_[e][1];
      return Residue(divisor, (10 * keys_[e][2] + (character - '0')) % divisor);
    }
  }
  return kNothing;
}

void TextLanguages::SplitClassesBy(const CodePointSet& set, std::vector<CodePointSet>& classes) {
  std::vector<CodePointSet> split;
  for (const CodePointSet& one : classes) {
    work_ += static_cast<int64_t>(one.ranges().size() + 1);
    CodePointSet inside = one.Intersection(set);
    CodePointSet outside = inside.empty() ? one : one.Intersection(set.Complement());
    if (!inside.empty()) split.push_back(std::move(inside));
    if (!outside.empty()) split.push_back(std::move(outside));
  }
  classes = std::move(split);
  if (work_ > kMaxWork) full_ = true;
}

void TextLanguages::SplitClasses(Expression e, std::vector<CodePointSet>& classes,
                                 absl::flat_hash_map<Expression, bool>& seen) {
  if (full_ || !seen.try_emplace(e, true).second) return;
  switch (KindOf(e)) {
    case Kind::kNothing:
    case Kind::kEmpty:
      return;
    case Kind::kCharacter:
      return SplitClassesBy(sets_[keys_[e][1]], classes);
    case Kind::kResidue:
      for (char32_t digit = '0'; digit <= '9'; ++digit) SplitClassesBy(CodePointSet::Of(digit), classes);
      return;
    case Kind::kConcat:
      SplitClasses(Part(e, 0), classes, seen);
      if (nullable_[Part(e, 0)]) SplitClasses(Part(e, 1), classes, seen);
      return;
    case Kind::kEither:
    case Kind::kBoth:
      for (size_t i = 0; i + 1 < keys_[e].size(); ++i) SplitClasses(Part(e, i), classes, seen);
      return;
    case Kind::kNot:
    case Kind::kRepeat:
      SplitClasses(Part(e, 0), classes, seen);
      return;
  }
}

// The edges of the state `e`; states that are new get a number and become work.
std::vector<TextAutomaton::Edge> TextLanguages::EdgesOf(Expression e,
                                                        absl::flat_hash_map<Expression, int32_t>& states,
                                                        std::vector<Expression>& work) {
  std::vector<CodePointSet> classes = {CodePointSet::All()};
  absl::flat_hash_map<Expression, bool> seen;
  SplitClasses(e, classes, seen);
  std::vector<std::pair<Expression, std::vector<CodePointRange>>> targets;
  absl::flat_hash_map<Expression, size_t> places;
  for (const CodePointSet& one : classes) {
    Derivatives known;
    const Expression target = Derivative(e, one.ranges().front().first, known);
    if (target == kNothing) continue;
    const auto [place, is_new] = places.try_emplace(target, targets.size());
    if (is_new) targets.push_back({target, {}});
    std::vector<CodePointRange>& ranges = targets[place->second].second;
    ranges.insert(ranges.end(), one.ranges().begin(), one.ranges().end());
  }
  std::vector<TextAutomaton::Edge> edges;
  for (auto& [target, ranges] : targets) {
    const auto [state, is_new] = states.try_emplace(target, static_cast<int32_t>(states.size()));
    if (is_new) work.push_back(target);
    edges.push_back({CodePointSet(std::move(ranges)), state->second});
  }
  return edges;
}

absl::StatusOr<TextAutomaton> TextLanguages::ToAutomaton(Expression expression) {
  TextAutomaton automaton;
  absl::flat_hash_map<Expression, int32_t> states = {{expression, 0}};
  std::vector<Expression> order = {expression};  // state i is order[i]
  for (size_t i = 0; i < order.size(); ++i) {
    const Expression e = order[i];
    std::vector<TextAutomaton::Edge> edges = EdgesOf(e, states, order);
    if (full_ || order.size() > static_cast<size_t>(kMaxStates)) {
      return absl::InvalidArgumentError(
          Concat("the strings that fit take more than ", kMaxStates, " states to tell from others"));
    }
    automaton.states.push_back({nullable_[e], std::move(edges)});
  }
  return automaton;
}

}  // namespace memgate
