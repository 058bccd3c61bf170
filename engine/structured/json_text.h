// The pieces that JSON texts are made of, as parts of a grammar.
#ifndef MEMGATE_ENGINE_STRUCTURED_JSON_TEXT_H_
#define MEMGATE_ENGINE_STRUCTURED_JSON_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "engine/structured/code_points.h"
#include "engine/structured/grammar.h"
#include "engine/structured/text_language.h"

namespace memgate {

// A property of an object, in the place where it may stand.
struct JsonMember {
  GrammarRule pair = 0;  // JsonText::Pair
  bool required = false;
};

struct JsonObjectForm {
  std::vector<JsonMember> members;  // in this order
  std::optional<GrammarRule> more;  // further pairs behind them
  int64_t max_more = -1;            // how many; < 0 = any number
  bool may_be_empty = true;
};

struct JsonArrayForm {
  std::vector<GrammarRule> prefix;  // the first elements
  std::optional<GrammarRule> rest;  // those behind them, if there may be any
  int64_t min = 0, max = -1;        // length; max < 0 = any
};

// Builds on a GrammarBuilder, which keeps work and memory in bounds. Rules are made when they are first asked
// for, once each. White space is optional behind { [ , : and before } ]: one space, or a line break with up
// to 32 spaces or tabs. So nobody can write blanks for ever. Not thread-safe.
class JsonText {
 public:
  // Values without a schema of their own nest no deeper, so that every parser can read them.
  static constexpr int kFreeDepth = 32;

  // Both must outlive the object.
  JsonText(GrammarBuilder& builder, TextLanguages& languages);

  GrammarNode Space(GrammarNode next);
  GrammarRule Null() { return Word("null"); }
  GrammarRule Boolean();
  // At most 18 digits before and behind the point, an exponent of at most two.
  GrammarRule Number();
  // At most 18 digits.
  GrammarRule Integer();
  // Any string. Surrogates are escaped in pairs or not at all.
  GrammarRule String();
  // Any string of min..max characters; max < 0 = any number.
  GrammarRule String(int64_t min, int64_t max);
  // A string of the language. Characters are escaped where JSON requires it only, but for places where every
  // character may stand.
  GrammarRule String(TextLanguages::Expression language);
  // A text of the language, as it is.
  GrammarRule Plain(TextLanguages::Expression language);
  // Any value that nests at most kFreeDepth - `depth` times.
  GrammarRule Value(int depth = 0);
  // Any object, any array.
  GrammarRule AnyObject(int depth = 0);
  GrammarRule AnyArray(int depth = 0);
  // Exactly one of the texts.
  GrammarRule OneOf(std::vector<std::string_view> texts);

  // A key behind its opening quote: any, or one of the language.
  GrammarRule Key();
  GrammarRule Key(TextLanguages::Expression language);
  // A key, behind its opening quote, and its value.
  GrammarRule Pair(GrammarRule key, GrammarRule value);
  GrammarRule Pair(std::string_view name, GrammarRule value);
  GrammarRule Object(const JsonObjectForm& form);
  GrammarRule Array(const JsonArrayForm& form);

 private:
  // The name of a rule for messages; rules of JSON are never left-recursive, so nobody sees it.
  GrammarRule NewRule(GrammarNode start);
  GrammarRule Word(std::string_view word);
  GrammarNode Digits(int64_t min, int64_t max, GrammarNode next);
  GrammarNode Whole(GrammarNode next);
  GrammarNode Comma(GrammarNode next);
  GrammarRule AnyCharacter();
  GrammarNode StringCharacter(const CodePointSet& set, GrammarNode next);
  GrammarNode EscapedCharacter(char32_t character, GrammarNode next);
  GrammarNode UnicodeEscape(GrammarNode next);
  GrammarNode Exactly(int64_t characters, GrammarNode next);
  GrammarNode AtMost(int64_t characters, GrammarNode next);

  // The texts of languages in one surrounding. A place is the start of the texts of an expression; those that
  // begin alike in different languages have it in common.
  struct Texts {
    GrammarNode end = 0;  // behind each of them
    absl::flat_hash_map<TextLanguages::Expression, GrammarNode> places;
    absl::flat_hash_map<TextLanguages::Expression, GrammarRule> rules;
  };
  using BuildCharacter = absl::FunctionRef<GrammarNode(const CodePointSet& set, GrammarNode next)>;
  GrammarNode Follow(TextLanguages::Expression language, Texts& texts, BuildCharacter build);
  using TextIterator = std::vector<std::string_view>::const_iterator;
  GrammarNode OneOfSorted(TextIterator first, TextIterator last, size_t common, GrammarNode next);
  struct ObjectPlace {
    GrammarNode key = 0;     // behind the quote of a key that may stand here
    GrammarNode behind = 0;  // behind the pair before it
  };
  ObjectPlace FurtherPairs(const JsonObjectForm& form, GrammarNode close);
  GrammarNode ArrayRest(const JsonArrayForm& form, GrammarNode close);

  // So many characters, then the end of the rule; with rules for those that were asked for.
  struct Counted {
    int chain = 0;  // of the builder
    std::vector<GrammarNode> nodes;
    absl::flat_hash_map<int64_t, GrammarRule> rules;
  };
  GrammarRule CountedRule(int64_t characters, Counted& counted,
                          absl::FunctionRef<GrammarNode(GrammarNode)> one);

  GrammarBuilder& builder_;
  TextLanguages& languages_;
  Texts strings_, plain_;
  Counted exactly_, at_most_;
  absl::flat_hash_map<std::pair<int64_t, int64_t>, GrammarRule> lengths_;  // of strings
  absl::flat_hash_map<std::string, GrammarRule> words_;
  absl::flat_hash_map<CodePointSet, GrammarRule> characters_;  // of strings
  std::optional<GrammarRule> space_, boolean_, number_, integer_, string_, key_, any_character_;
  absl::flat_hash_map<int, GrammarRule> values_, objects_, arrays_;
};

// `text` in quotes, escaped where JSON requires it. REQUIRES: UTF-8.
std::string JsonQuoted(std::string_view text);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_JSON_TEXT_H_
