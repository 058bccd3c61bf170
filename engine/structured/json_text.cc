#include "engine/structured/json_text.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>

namespace memgate {
namespace {

constexpr int64_t kMaxIndent = 32;
constexpr int64_t kMaxDigits = 18;         // a whole number of them fits 64 bits
constexpr int64_t kMaxExponentDigits = 2;  // 10^18 * 10^99 is far from the largest double
constexpr ByteRange kDigit = {'0', '9'};
// Longer strings are counted in blocks of so many characters. Shorter ones, which are usual, are not, as it
// costs a second state to know whether the block at hand will be a whole one.
constexpr int64_t kBlock = 4096;

// Must be escaped within a string.
CodePointSet MustEscape() { return CodePointSet({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}); }

CodePointSet Hex(char32_t first_digit, char32_t last_digit, std::string_view letters) {
  std::vector<CodePointRange> ranges;
  if (first_digit <= last_digit) ranges.push_back({first_digit, last_digit});
  for (const char letter : letters) {
    const char32_t lower = static_cast<char32_t>(letter);
    ranges.push_back({lower, lower});
    ranges.push_back({lower - 'a' + 'A', lower - 'a' + 'A'});
  }
  return CodePointSet(std::move(ranges));
}

}  // namespace

std::string JsonQuoted(std::string_view text) { return nlohmann::json(std::string(text)).dump(); }

JsonText::JsonText(GrammarBuilder& builder, TextLanguages& languages)
    : builder_(builder), languages_(languages) {
  strings_.end = builder_.Literal("\"", builder_.End());
  plain_.end = builder_.End();
  for (Counted* counted : {&exactly_, &at_most_}) {
    counted->nodes = {builder_.End()};
    counted->chain = builder_.AddChain();
    builder_.Extend(counted->chain, builder_.End());
  }
}

GrammarRule JsonText::NewRule(GrammarNode start) {
  const GrammarRule rule = builder_.AddRule("json");
  builder_.Define(rule, start);
  return rule;
}

GrammarNode JsonText::Space(GrammarNode next) {
  if (!space_) {
    const GrammarNode end = builder_.End();
    const auto blank = [this](GrammarNode after) {
      return builder_.Characters(CodePointSet({{' ', ' '}, {'\t', '\t'}}), after);
    };
    const GrammarNode line = builder_.Literal("\n", builder_.Repeat(blank, 0, kMaxIndent, end));
    space_ = NewRule(builder_.Choice({builder_.Literal(" ", end), line, end}));
  }
  return builder_.Call(*space_, next);
}

GrammarNode JsonText::Comma(GrammarNode next) { return builder_.Literal(",", Space(next)); }

GrammarRule JsonText::Word(std::string_view word) {
  const auto [entry, is_new] = words_.try_emplace(std::string(word), 0);
  if (is_new) entry->second = NewRule(builder_.Literal(word, builder_.End()));
  return entry->second;
}

GrammarRule JsonText::Boolean() {
  if (!boolean_) {
    const GrammarNode end = builder_.End();
    boolean_ = NewRule(builder_.Choice({builder_.Literal("true", end), builder_.Literal("false", end)}));
  }
  return *boolean_;
}

GrammarNode JsonText::Digits(int64_t min, int64_t max, GrammarNode next) {
  return builder_.Repeat([this](GrammarNode after) { return builder_.Bytes(kDigit, after); }, min, max, next);
}

// -? (0 | [1-9] digits)
GrammarNode JsonText::Whole(GrammarNode next) {
  const GrammarNode magnitude = builder_.Choice(
      {builder_.Literal("0", next), builder_.Bytes({'1', '9'}, Digits(0, kMaxDigits - 1, next))});
  return builder_.Choice({magnitude, builder_.Literal("-", magnitude)});
}

GrammarRule JsonText::Integer() {
  if (!integer_) integer_ = NewRule(Whole(builder_.End()));
  return *integer_;
}

GrammarRule JsonText::Number() {
  if (!number_) {
    const GrammarNode end = builder_.End();
    const GrammarNode exponent_digits = Digits(1, kMaxExponentDigits, end);
    const GrammarNode sign = builder_.Choice(
        {builder_.Characters(CodePointSet({{'+', '+'}, {'-', '-'}}), exponent_digits), exponent_digits});
    const GrammarNode exponent =
        builder_.Choice({builder_.Characters(CodePointSet({{'e', 'e'}, {'E', 'E'}}), sign), end});
    const GrammarNode fraction = builder_.Literal(".", Digits(1, kMaxDigits, exponent));
    number_ = NewRule(Whole(builder_.Choice({fraction, exponent})));
  }
  return *number_;
}

// \uXXXX for characters of four digits, and pairs of surrogates for all others; never half a pair.
GrammarNode JsonText::UnicodeEscape(GrammarNode next) {
  const auto hex = [this](const CodePointSet& digit, GrammarNode after) {
    return builder_.Characters(digit, after);
  };
  const CodePointSet any = Hex('0', '9', "abcdef");
  const GrammarNode two = hex(any, hex(any, next));
  const GrammarNode low = builder_.Literal("\\u", hex(Hex(1, 0, "d"), hex(Hex(1, 0, "cdef"), two)));
  const GrammarNode high = hex(Hex('8', '9', "ab"), hex(any, hex(any, low)));
  const GrammarNode after_d = builder_.Choice({hex(Hex('0', '7', ""), two), high});
  return builder_.Choice({hex(Hex('0', '9', "abcef"), hex(any, two)), hex(Hex(1, 0, "d"), after_d)});
}

GrammarRule JsonText::AnyCharacter() {
  if (!any_character_) {
    const GrammarNode end = builder_.End();
    const GrammarNode escape = builder_.Choice({builder_.Characters(CodePointSet({{'"', '"'},
                                                                                  {'\\', '\\'},
                                                                                  {'/', '/'},
                                                                                  {'b', 'b'},
                                                                                  {'f', 'f'},
                                                                                  {'n', 'n'},
                                                                                  {'r', 'r'},
                                                                                  {'t', 't'}}),
                                                                    end),
                                                builder_.Literal("u", UnicodeEscape(end))});
    any_character_ = NewRule(builder_.Choice(
        {builder_.Characters(MustEscape().Complement(), end), builder_.Literal("\\", escape)}));
  }
  return *any_character_;
}

// REQUIRES: MustEscape().Contains(character).
GrammarNode JsonText::EscapedCharacter(char32_t character, GrammarNode next) {
  constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetters = "\"\\bfnrt";
  const size_t i = kShort.find(static_cast<char>(character));
  if (i != kShort.npos) return builder_.Literal(std::string{'\\', kLetters[i]}, next);
  constexpr std::string_view kDigits = "0123456789abcdef";
  const std::string escape = {'\\', 'u', '0', '0', kDigits[character >> 4], kDigits[character & 15]};
  return builder_.Literal(escape, next);
}

// One character of the set, as it stands in a string.
GrammarNode JsonText::StringCharacter(const CodePointSet& set, GrammarNode next) {
  if (set == CodePointSet::All()) return builder_.Call(AnyCharacter(), next);
  const CodePointSet escaped = set.Intersection(MustEscape());
  constexpr size_t kFewRanges = 4;
  if (escaped.empty() && set.ranges().size() <= kFewRanges && set.ranges().back().last < 0x80) {
    return builder_.Characters(set, next);
  }
  const auto [entry, is_new] = characters_.try_emplace(set, 0);
  if (is_new) {
    const GrammarNode end = builder_.End();
    std::vector<GrammarNode> ways = {builder_.Characters(set.Intersection(MustEscape().Complement()), end)};
    for (const CodePointRange& range : escaped.ranges()) {
      for (char32_t c = range.first; c <= range.last; ++c) ways.push_back(EscapedCharacter(c, end));
    }
    entry->second = NewRule(builder_.Choice(ways));
  }
  return builder_.Call(entry->second, next);
}

GrammarNode JsonText::Follow(TextLanguages::Expression language, Texts& texts, BuildCharacter build) {
  std::vector<TextLanguages::Expression> work;
  const auto place = [&](TextLanguages::Expression e) {
    const auto [entry, is_new] = texts.places.try_emplace(e, 0);
    if (is_new) {
      entry->second = builder_.Reserve();
      work.push_back(e);
    }
    return entry->second;
  };
  const GrammarNode start = place(language);
  while (!work.empty() && !builder_.full()) {
    const TextLanguages::Expression e = work.back();
    work.pop_back();
    std::vector<GrammarNode> ways;
    for (const TextLanguages::Edge& edge : languages_.EdgesOf(e)) {
      ways.push_back(build(edge.characters, place(edge.rest)));
    }
    if (languages_.HasEmpty(e)) ways.push_back(texts.end);
    builder_.Fill(texts.places.at(e), ways);
  }
  return start;
}

GrammarRule JsonText::String() {
  if (!string_) string_ = String(0, -1);
  return *string_;
}

GrammarRule JsonText::Key() {
  if (!key_) {
    const auto character = [this](GrammarNode after) { return builder_.Call(AnyCharacter(), after); };
    key_ = NewRule(builder_.Repeat(character, 0, -1, strings_.end));
  }
  return *key_;
}

// A chain of `one` after the other that is as long as was ever asked for: its last part is the shorter ones.
GrammarRule JsonText::CountedRule(int64_t characters, Counted& counted,
                                  absl::FunctionRef<GrammarNode(GrammarNode)> one) {
  while (static_cast<int64_t>(counted.nodes.size()) <= characters) {
    counted.nodes.push_back(one(counted.nodes.back()));
    builder_.Extend(counted.chain, counted.nodes.back());
  }
  const auto [entry, is_new] = counted.rules.try_emplace(characters, 0);
  if (is_new) entry->second = NewRule(counted.nodes[characters]);
  return entry->second;
}

GrammarNode JsonText::Exactly(int64_t characters, GrammarNode next) {
  const auto one = [this](GrammarNode after) { return builder_.Call(AnyCharacter(), after); };
  const auto call = [&](int64_t count) { return builder_.Call(CountedRule(count, exactly_, one), next); };
  if (characters % kBlock > 0) next = call(characters % kBlock);
  for (int64_t i = 0; i < characters / kBlock; ++i) next = call(kBlock);
  return next;
}

// Whole blocks as long as they last, then less than one. So every number of characters is read in one way.
GrammarNode JsonText::AtMost(int64_t characters, GrammarNode next) {
  const auto one = [this](GrammarNode after) {
    return builder_.Choice({builder_.Call(AnyCharacter(), after), builder_.End()});
  };
  const auto call = [&](int64_t count) { return builder_.Call(CountedRule(count, at_most_, one), next); };
  GrammarNode at = characters % kBlock > 0 ? call(characters % kBlock) : next;
  const GrammarNode less = characters >= kBlock ? call(kBlock - 1) : next;
  for (int64_t i = 0; i < characters / kBlock; ++i) at = builder_.Choice({Exactly(kBlock, at), less});
  return at;
}

GrammarRule JsonText::String(int64_t min, int64_t max) {
  if (const auto known = lengths_.find({min, max}); known != lengths_.end()) return known->second;
  const auto character = [this](GrammarNode after) { return builder_.Call(AnyCharacter(), after); };
  const GrammarNode rest =
      max < 0 ? builder_.Repeat(character, 0, -1, strings_.end) : AtMost(max - min, strings_.end);
  return lengths_[{min, max}] = NewRule(builder_.Literal("\"", Exactly(min, rest)));
}

GrammarRule JsonText::Key(TextLanguages::Expression language) {
  const auto [entry, is_new] = strings_.rules.try_emplace(language, 0);
  if (is_new) {
    const auto build = [this](const CodePointSet& set, GrammarNode after) {
      return StringCharacter(set, after);
    };
    entry->second = NewRule(Follow(language, strings_, build));
  }
  return entry->second;
}

GrammarRule JsonText::String(TextLanguages::Expression language) {
  return NewRule(builder_.Literal("\"", builder_.Call(Key(language), builder_.End())));
}

GrammarRule JsonText::Plain(TextLanguages::Expression language) {
  const auto [entry, is_new] = plain_.rules.try_emplace(language, 0);
  if (is_new) {
    const auto build = [this](const CodePointSet& set, GrammarNode after) {
      return builder_.Characters(set, after);
    };
    entry->second = NewRule(Follow(language, plain_, build));
  }
  return entry->second;
}

GrammarRule JsonText::Value(int depth) {
  if (const auto known = values_.find(depth); known != values_.end()) return known->second;
  const GrammarNode end = builder_.End();
  std::vector<GrammarNode> ways;
  for (const GrammarRule rule : {String(), Number(), Boolean(), Null()})
    ways.push_back(builder_.Call(rule, end));
  if (depth < kFreeDepth) {
    ways.push_back(builder_.Call(AnyObject(depth), end));
    ways.push_back(builder_.Call(AnyArray(depth), end));
  }
  return values_[depth] = NewRule(builder_.Choice(ways));
}

GrammarRule JsonText::AnyObject(int depth) {
  if (const auto known = objects_.find(depth); known != objects_.end()) return known->second;
  JsonObjectForm form;
  form.more = Pair(Key(), Value(depth + 1));
  return objects_[depth] = Object(form);
}

GrammarRule JsonText::AnyArray(int depth) {
  if (const auto known = arrays_.find(depth); known != arrays_.end()) return known->second;
  JsonArrayForm form;
  form.rest = Value(depth + 1);
  return arrays_[depth] = Array(form);
}

// The texts share what they begin with, so that no place of the network has many ways for one byte.
GrammarNode JsonText::OneOfSorted(TextIterator first, TextIterator last, size_t common, GrammarNode next) {
  const std::string_view low = *first;
  const std::string_view high = *std::prev(last);
  const size_t begin = common;
  while (common < low.size() && common < high.size() && low[common] == high[common]) ++common;
  std::vector<GrammarNode> ways;
  if (low.size() == common) {  // ends here; the others go on
    ways.push_back(next);
    ++first;
  }
  while (first != last) {
    const TextIterator group = first;
    while (first != last && (*first)[common] == (*group)[common]) ++first;
    ways.push_back(OneOfSorted(group, first, common, next));
  }
  return builder_.Literal(low.substr(begin, common - begin), builder_.Choice(ways));
}

GrammarRule JsonText::OneOf(std::vector<std::string_view> texts) {
  if (texts.empty()) return NewRule(builder_.Choice({}));
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return NewRule(OneOfSorted(texts.begin(), texts.end(), 0, builder_.End()));
}

GrammarRule JsonText::Pair(GrammarRule key, GrammarRule value) {
  return NewRule(builder_.Call(key, builder_.Literal(":", Space(builder_.Call(value, builder_.End())))));
}

GrammarRule JsonText::Pair(std::string_view name, GrammarRule value) {
  return NewRule(
      builder_.Literal(JsonQuoted(name).substr(1) + ":", Space(builder_.Call(value, builder_.End()))));
}

// Where further pairs may stand, and behind them.
JsonText::ObjectPlace JsonText::FurtherPairs(const JsonObjectForm& form, GrammarNode close) {
  if (!form.more || form.max_more == 0) return {.key = builder_.Choice({}), .behind = close};
  ObjectPlace place;
  if (form.max_more < 0) {
    place.behind = builder_.Reserve();
    place.key = builder_.Call(*form.more, place.behind);
    builder_.Fill(place.behind, {Comma(builder_.Literal("\"", place.key)), close});
    return place;
  }
  place.behind = close;
  for (int64_t i = 0; i < form.max_more && !builder_.full(); ++i) {
    place.key = builder_.Call(*form.more, place.behind);
    place.behind = builder_.Choice({Comma(builder_.Literal("\"", place.key)), close});
  }
  return place;
}

// The quote of a key stands before the choice between the pairs, so that blanks before it do not multiply
// their number.
GrammarRule JsonText::Object(const JsonObjectForm& form) {
  const GrammarNode close_empty = builder_.Literal("}", builder_.End());
  const GrammarNode close = Space(close_empty);
  ObjectPlace place = FurtherPairs(form, close);
  bool may_close = true;
  for (auto member = form.members.rbegin(); member != form.members.rend(); ++member) {
    may_close = may_close && !member->required;
    const GrammarNode pair = builder_.Call(member->pair, place.behind);
    place.key = member->required ? pair : builder_.Choice({pair, place.key});
    const GrammarNode next = Comma(builder_.Literal("\"", place.key));
    place.behind = may_close ? builder_.Choice({next, close}) : next;
  }
  const GrammarNode first = builder_.Literal("\"", place.key);
  const GrammarNode inside = may_close && form.may_be_empty ? builder_.Choice({first, close_empty}) : first;
  return NewRule(builder_.Literal("{", Space(inside)));
}

// What follows an array's prefix: further elements, each behind a comma.
GrammarNode JsonText::ArrayRest(const JsonArrayForm& form, GrammarNode close) {
  const int64_t count = static_cast<int64_t>(form.prefix.size());
  if (!form.rest || (form.max >= 0 && form.max <= count)) {
    return form.min <= count ? close : builder_.Choice({});
  }
  const auto more = [&](GrammarNode after) { return Comma(builder_.Call(*form.rest, after)); };
  return builder_.Repeat(more, std::max<int64_t>(form.min - count, 0), form.max < 0 ? -1 : form.max - count,
                         close);
}

GrammarRule JsonText::Array(const JsonArrayForm& form) {
  if (form.prefix.empty() && form.rest) {  // the first element has no comma, so it is one of the prefix
    JsonArrayForm with_first = form;
    with_first.prefix.push_back(*form.rest);
    return Array(with_first);
  }
  const GrammarNode close_empty = builder_.Literal("]", builder_.End());
  const GrammarNode close = Space(close_empty);
  const int64_t count = static_cast<int64_t>(form.prefix.size());
  const auto may_stop = [&](int64_t length) { return length >= form.min; };
  const auto may_go_on = [&](int64_t length) { return form.max < 0 || length < form.max; };
  GrammarNode behind = ArrayRest(form, close);  // behind `k` elements
  for (int64_t k = count - 1; k >= 1; --k) {
    std::vector<GrammarNode> ways;
    if (may_go_on(k)) ways.push_back(Comma(builder_.Call(form.prefix[k], behind)));
    if (may_stop(k)) ways.push_back(close);
    behind = builder_.Choice(ways);
  }
  std::vector<GrammarNode> ways;
  if (count > 0 && may_go_on(0)) ways.push_back(builder_.Call(form.prefix[0], behind));
  if (may_stop(0)) ways.push_back(close_empty);
  return NewRule(builder_.Literal("[", Space(builder_.Choice(ways))));
}

}  // namespace memgate
