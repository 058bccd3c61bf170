#include "engine/structured/json_text.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace memgate {
namespace {

constexpr int64_t kMaxIndent = 32;
constexpr int64_t kMaxDigits = 18;         // a whole number of them fits 64 bits
constexpr int64_t kMaxExponentDigits = 2;  // 10^18 * 10^99 is far from the largest double
constexpr ByteRange kDigit = {'0', '9'};

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

// The automaton, node by node; `build` makes the way for one character of a set.
template <typename BuildCharacter>
GrammarNode JsonText::Follow(const TextAutomaton& language, BuildCharacter build, GrammarNode next) {
  std::vector<GrammarNode> starts;
  for (size_t i = 0; i < language.states.size(); ++i) starts.push_back(builder_.Reserve());
  for (size_t i = 0; i < language.states.size(); ++i) {
    std::vector<GrammarNode> ways;
    for (const TextAutomaton::Edge& edge : language.states[i].edges) {
      ways.push_back(build(edge.characters, starts[edge.target]));
    }
    if (language.states[i].accepts) ways.push_back(next);
    const GrammarNode way = builder_.Choice(ways);
    builder_.Fill(starts[i], way, way);
  }
  return starts[0];
}

GrammarRule JsonText::String() {
  if (!string_) string_ = String(0, -1);
  return *string_;
}

GrammarRule JsonText::String(int64_t min, int64_t max) {
  const GrammarNode close = builder_.Literal("\"", builder_.End());
  const auto character = [this](GrammarNode after) { return builder_.Call(AnyCharacter(), after); };
  return NewRule(builder_.Literal("\"", builder_.Repeat(character, min, max, close)));
}

GrammarRule JsonText::String(const TextAutomaton& language) {
  const GrammarNode close = builder_.Literal("\"", builder_.End());
  const auto build = [this](const CodePointSet& set, GrammarNode after) {
    return StringCharacter(set, after);
  };
  return NewRule(builder_.Literal("\"", Follow(language, build, close)));
}

GrammarRule JsonText::Plain(const TextAutomaton& language) {
  const auto build = [this](const CodePointSet& set, GrammarNode after) {
    return builder_.Characters(set, after);
  };
  return NewRule(Follow(language, build, builder_.End()));
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
  form.more = Pair(String(), Value(depth + 1));
  return objects_[depth] = Object(form);
}

GrammarRule JsonText::AnyArray(int depth) {
  if (const auto known = arrays_.find(depth); known != arrays_.end()) return known->second;
  JsonArrayForm form;
  form.rest = Value(depth + 1);
  return arrays_[depth] = Array(form);
}

// The texts share what they begin with, so that no place of the network has many ways for one byte.
GrammarNode JsonText::OneOfSorted(const std::string* first, const std::string* last, size_t common,
                                  GrammarNode next) {
  const std::string& low = *first;
  const std::string& high = *(last - 1);
  const size_t begin = common;
  while (common < low.size() && common < high.size() && low[common] == high[common]) ++common;
  std::vector<GrammarNode> ways;
  if (low.size() == common) ways.push_back(next);
  for (const std::string* at = first; at != last;) {
    const std::string* group = at;
    while (at != last && at->size() > common && (*at)[common] == (*group)[common]) ++at;
    if (at != group) {
      ways.push_back(OneOfSorted(group, at, common, next));
    } else {
      ++at;  // ends here
    }
  }
  return builder_.Literal(std::string_view(low).substr(begin, common - begin), builder_.Choice(ways));
}

GrammarRule JsonText::OneOf(std::vector<std::string> texts) {
  if (texts.empty()) return NewRule(builder_.Choice({}));
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return NewRule(OneOfSorted(texts.data(), texts.data() + texts.size(), 0, builder_.End()));
}

GrammarRule JsonText::Pair(GrammarRule key, GrammarRule value) {
  return NewRule(builder_.Call(key, builder_.Literal(":", Space(builder_.Call(value, builder_.End())))));
}

GrammarRule JsonText::Pair(std::string_view name, GrammarRule value) {
  return NewRule(builder_.Literal(JsonQuoted(name) + ":", Space(builder_.Call(value, builder_.End()))));
}

// Two rows of places: before the first pair, and behind one, where a comma comes first.
GrammarRule JsonText::Object(const JsonObjectForm& form) {
  const GrammarNode close_empty = builder_.Literal("}", builder_.End());
  const GrammarNode close = Space(close_empty);
  GrammarNode none = form.may_be_empty ? close_empty : builder_.Choice({});
  GrammarNode some = close;
  if (form.more && form.max_more != 0) {
    const auto more = [&](GrammarNode after) { return Comma(builder_.Call(*form.more, after)); };
    some = builder_.Repeat(more, 0, form.max_more, close);
    const GrammarNode after_first =
        builder_.Repeat(more, 0, form.max_more < 0 ? -1 : form.max_more - 1, close);
    none = builder_.Choice({builder_.Call(*form.more, after_first), none});
  }
  for (auto member = form.members.rbegin(); member != form.members.rend(); ++member) {
    const GrammarNode as_first = builder_.Call(member->pair, some);
    const GrammarNode as_next = Comma(builder_.Call(member->pair, some));
    none = member->required ? as_first : builder_.Choice({as_first, none});
    some = member->required ? as_next : builder_.Choice({as_next, some});
  }
  return NewRule(builder_.Literal("{", Space(none)));
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
