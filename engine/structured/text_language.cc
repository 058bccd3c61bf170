#include "engine/structured/text_language.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/text/unicode.h"

namespace memgate {
namespace {

// An expression and its places in the tables; a set; a range of one, of which there may be two copies; an
// edge.
constexpr int64_t kExpressionBytes = 160;
constexpr int64_t kSetBytes = 160;
constexpr int64_t kRangeBytes = sizeof(CodePointRange);
constexpr int64_t kEdgeBytes = 64;

int64_t RangesOf(const CodePointSet& set) { return static_cast<int64_t>(set.ranges().size()); }

std::vector<char32_t> CharactersOf(std::string_view text) {
  std::vector<char32_t> characters;
  while (!text.empty()) {
    const Utf8Step step = ReadUtf8(text);
    characters.push_back(step.code_point);
    text.remove_prefix(step.bytes);
  }
  return characters;
}

// Whether at most `digits` digits behind a number of this remainder can make a multiple of it. Those that k
// digits add are 0..10^k-1, so they can once that many reach the next multiple.
bool CanBecomeMultiple(int64_t divisor, int64_t remainder, int64_t digits) {
  int64_t added = 1;
  for (int64_t k = 0; k <= digits; ++k) {
    if ((divisor - remainder) % divisor < added) return true;
    remainder = 10 * remainder % divisor;
    added *= 10;
  }
  return false;
}

}  // namespace

TextLanguages::TextLanguages(CompileBudget& budget) : budget_(budget) {
  Intern({static_cast<int64_t>(Kind::kNothing)}, false);
  Intern({static_cast<int64_t>(Kind::kEmpty)}, true);
  any_ = Repeat(Character(CodePointSet::All()), 0, -1);
}

TextLanguages::Expression TextLanguages::Intern(Key key, bool has_empty) {
  budget_.Step(static_cast<int64_t>(key.size()));
  const auto known = numbers_.find(key);
  if (known != numbers_.end()) return known->second;
  if (budget_.spent()) return kNothing;
  budget_.Hold(kExpressionBytes + static_cast<int64_t>(key.size() * sizeof(int64_t)));
  const Expression number = static_cast<Expression>(keys_.size());
  keys_.push_back(std::move(key));
  has_empty_.push_back(has_empty);
  numbers_.emplace(absl::MakeConstSpan(keys_.back()), number);
  return number;
}

TextLanguages::Expression TextLanguages::Character(const CodePointSet& set) {
  if (set.empty()) return kNothing;
  budget_.Step(RangesOf(set));
  const auto [entry, is_new] = set_numbers_.try_emplace(set, static_cast<int64_t>(sets_.size()));
  if (is_new) {
    budget_.Hold(kSetBytes + 2 * kRangeBytes * RangesOf(set));
    sets_.push_back(set);
  }
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
    b = Intern({static_cast<int64_t>(Kind::kConcat), *head, b}, has_empty_[*head] && has_empty_[b]);
  }
  return b;
}

// Associative, commutative and idempotent, so that a language has finitely many derivatives.
TextLanguages::Expression TextLanguages::Combine(Kind kind, std::vector<Expression> parts) {
  const Expression absorbing = kind == Kind::kEither ? any_ : kNothing;
  const Expression neutral = kind == Kind::kEither ? kNothing : any_;
  budget_.Step(static_cast<int64_t>(parts.size()));
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
  budget_.Step(static_cast<int64_t>(flat.size()));
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  if (flat.empty()) return neutral;
  if (flat.size() == 1) return flat.front();
  const auto has_empty = [this](Expression e) { return has_empty_[e]; };
  const bool combined = kind == Kind::kEither ? std::any_of(flat.begin(), flat.end(), has_empty)
                                              : std::all_of(flat.begin(), flat.end(), has_empty);
  Key key = {static_cast<int64_t>(kind)};
  key.insert(key.end(), flat.begin(), flat.end());
  return Intern(std::move(key), combined);
}

TextLanguages::Expression TextLanguages::Not(Expression a) {
  if (a == kNothing) return any_;
  if (a == any_) return kNothing;
  if (KindOf(a) == Kind::kNot) return Part(a, 0);
  return Intern({static_cast<int64_t>(Kind::kNot), a}, !has_empty_[a]);
}

TextLanguages::Expression TextLanguages::Repeat(Expression a, int64_t min, int64_t max) {
  if (max == 0 || a == kEmpty) return kEmpty;
  if (a == kNothing) return min == 0 ? kEmpty : kNothing;
  if (min == 1 && max == 1) return a;
  if (has_empty_[a]) min = 0;
  if (KindOf(a) == Kind::kRepeat && keys_[a][2] == 0 && keys_[a][3] < 0) return a;  // (x*)* and the like
  return Intern({static_cast<int64_t>(Kind::kRepeat), a, min, max}, min == 0);
}

TextLanguages::Expression TextLanguages::Derivative(Expression e, char32_t character, Derivatives& known) {
  if (const auto found = known.find(e); found != known.end()) return found->second;
  budget_.Step();
  if (budget_.spent()) return kNothing;
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
      return has_empty_[a] ? Either(first, Derivative(b, character, known)) : first;
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
      return Residue(divisor, (10 * keys_[e][2] + (character - '0')) % divisor, keys_[e][3] - 1);
    }
  }
  return kNothing;
}

// Two remainders are alike if they are both 0 or both not, and what any digit makes of them is alike: Moore's
// refinement (1956), until nothing differs any more.
const std::vector<int32_t>& TextLanguages::ResidueClasses(int64_t divisor) {
  std::vector<int32_t>& known = residue_classes_[divisor];
  if (!known.empty()) return known;
  std::vector<int32_t> classes(divisor, 1);  // of each remainder, named by the least one in it
  classes[0] = 0;
  budget_.Hold(divisor * static_cast<int64_t>(sizeof(int32_t)));
  constexpr int kDigits = 10;
  using Row = std::array<int32_t, kDigits + 1>;
  for (size_t count = 0; !budget_.spent();) {
    absl::flat_hash_map<Row, int32_t> least;
    std::vector<int32_t> finer(divisor);
    for (int64_t remainder = 0; remainder < divisor; ++remainder) {
      Row row;
      for (int digit = 0; digit < kDigits; ++digit) row[digit] = classes[(10 * remainder + digit) % divisor];
      row[kDigits] = classes[remainder];
      finer[remainder] = least.try_emplace(row, static_cast<int32_t>(remainder)).first->second;
    }
    budget_.Step(divisor * (kDigits + 1));
    classes = std::move(finer);
    if (least.size() == count) break;
    count = least.size();
  }
  return known = std::move(classes);
}

int64_t TextLanguages::ResidueCount(int32_t divisor) {
  const std::vector<int32_t>& classes = ResidueClasses(divisor);
  int64_t count = 0;
  for (int32_t remainder = 0; remainder < divisor; ++remainder) count += classes[remainder] == remainder;
  return count;
}

TextLanguages::Expression TextLanguages::Residue(int64_t divisor, int64_t remainder, int64_t digits) {
  if (!CanBecomeMultiple(divisor, remainder, digits)) return kNothing;
  const int32_t alike = ResidueClasses(divisor)[remainder];
  return Intern({static_cast<int64_t>(Kind::kResidue), divisor, alike, digits}, alike == 0);
}

void TextLanguages::SplitClassesBy(const CodePointSet& set, std::vector<CodePointSet>& classes) {
  const CodePointSet others = set.Complement();
  std::vector<CodePointSet> split;
  for (const CodePointSet& one : classes) {
    budget_.Step(1 + RangesOf(one) + RangesOf(set));
    if (budget_.spent()) return;
    CodePointSet inside = one.Intersection(set);
    CodePointSet outside = inside.empty() ? one : one.Intersection(others);
    if (!inside.empty()) split.push_back(std::move(inside));
    if (!outside.empty()) split.push_back(std::move(outside));
  }
  classes = std::move(split);
}

void TextLanguages::SplitClasses(Expression e, std::vector<CodePointSet>& classes,
                                 absl::flat_hash_set<Expression>& seen) {
  budget_.Step();
  if (budget_.spent() || !seen.insert(e).second) return;
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
      if (has_empty_[Part(e, 0)]) SplitClasses(Part(e, 1), classes, seen);
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

std::vector<TextLanguages::Edge> TextLanguages::ComputeEdges(Expression e) {
  std::vector<CodePointSet> classes = {CodePointSet::All()};
  absl::flat_hash_set<Expression> seen;
  SplitClasses(e, classes, seen);
  std::vector<std::pair<Expression, std::vector<CodePointRange>>> rests;
  absl::flat_hash_map<Expression, size_t> places;
  for (const CodePointSet& one : classes) {
    Derivatives known;
    const Expression rest = Derivative(e, one.ranges().front().first, known);
    if (rest == kNothing) continue;
    const auto [place, is_new] = places.try_emplace(rest, rests.size());
    if (is_new) rests.push_back({rest, {}});
    std::vector<CodePointRange>& ranges = rests[place->second].second;
    ranges.insert(ranges.end(), one.ranges().begin(), one.ranges().end());
  }
  std::vector<Edge> edges;
  for (auto& [rest, ranges] : rests) edges.push_back({CodePointSet(std::move(ranges)), rest});
  return edges;
}

const std::vector<TextLanguages::Edge>& TextLanguages::EdgesOf(Expression e) {
  if (const auto known = edges_.find(e); known != edges_.end()) return known->second;
  std::vector<Edge> edges = ComputeEdges(e);
  if (budget_.spent()) edges.clear();  // they may be wrong
  budget_.Hold(kEdgeBytes);
  for (const Edge& edge : edges) budget_.Hold(kEdgeBytes + 2 * kRangeBytes * RangesOf(edge.characters));
  return edges_[e] = std::move(edges);
}

bool TextLanguages::Matches(Expression e, std::string_view text) {
  for (const char32_t character : CharactersOf(text)) {
    const std::vector<Edge>& edges = EdgesOf(e);
    budget_.Step(1 + static_cast<int64_t>(edges.size()));
    const auto edge = std::find_if(edges.begin(), edges.end(),
                                   [&](const Edge& one) { return one.characters.Contains(character); });
    if (edge == edges.end()) return false;
    e = edge->rest;
  }
  return HasEmpty(e);
}

}  // namespace memgate
