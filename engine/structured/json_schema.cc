#include "engine/structured/json_schema.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/strings.h"
#include "engine/structured/compile_budget.h"
#include "engine/structured/json_numbers.h"
#include "engine/structured/json_text.h"
#include "engine/structured/schema_reader.h"
#include "engine/structured/text_language.h"
#include "engine/structured/text_pattern.h"

namespace memgate {
namespace {

using Expression = TextLanguages::Expression;

// Schemas that a value has to satisfy at once, by their index, ascending.
using Conjunction = std::vector<int>;

constexpr size_t kMaxAlternatives = 1024;  // of one place
constexpr int kMaxReferenceDepth = 256;
constexpr int64_t kMaxMultiple = 10'000;

Conjunction Together(const Conjunction& a, const Conjunction& b) {
  Conjunction both;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

// What several schemas ask of one value together.
struct Shape {
  std::vector<const SchemaNode*> nodes;
  unsigned types = kAllTypes;
  std::optional<std::vector<int>> choices;  // values of the document, ascending
  const SchemaNode* choices_from = nullptr;
  int64_t min_length = 0, max_length = -1;
  bool has_patterns = false;
  NumberBounds numbers;
  int64_t min_items = 0, max_items = -1;
  int64_t min_properties = 0, max_properties = -1;
  const SchemaNode* min_properties_from = nullptr;
  const SchemaNode* max_properties_from = nullptr;
  bool has_array_keywords = false, has_object_keywords = false;
};

void TightenMax(int64_t& max, int64_t other) {
  if (max < 0 || (other >= 0 && other < max)) max = other;
}

// Makes a rule for each combination of schemas that some place asks for, once each.
class SchemaCompiler {
 public:
  SchemaCompiler(const SchemaDocument& document, CompileBudget& budget)
      : document_(document),
        budget_(budget),
        builder_(budget),
        languages_(budget),
        text_(builder_, languages_),
        alternatives_(document.size()) {}

  absl::StatusOr<Grammar> Compile() {
    const GrammarRule root = builder_.AddRule("root");
    builder_.Define(root, text_.Space(builder_.Call(RuleFor({&document_.root()}), builder_.End())));
    while (!waiting_.empty()) {
      const auto [conjunction, rule] = std::move(waiting_.back());
      waiting_.pop_back();
      if (absl::Status status = DefineRule(conjunction, rule); !status.ok()) return status;
    }
    return std::move(builder_).Build(root);
  }

 private:
  // The rule of a value that satisfies all of `schemas`; defined later, so that schemas may be recursive.
  GrammarRule RuleFor(const std::vector<const SchemaNode*>& schemas) {
    Conjunction conjunction;
    budget_.Step(1 + static_cast<int64_t>(schemas.size()));
    for (const SchemaNode* schema : schemas) conjunction.push_back(schema->index);
    std::sort(conjunction.begin(), conjunction.end());
    conjunction.erase(std::unique(conjunction.begin(), conjunction.end()), conjunction.end());
    const auto [entry, is_new] = rules_.try_emplace(conjunction, 0);
    if (is_new) {
      entry->second = builder_.AddRule("value");
      budget_.Hold(2 * BytesOf(conjunction));
      waiting_.emplace_back(std::move(conjunction), entry->second);
    }
    return entry->second;
  }

  absl::Status DefineRule(const Conjunction& conjunction, GrammarRule rule) {
    std::vector<Conjunction> alternatives = {{}};
    for (const int schema : conjunction) {
      const auto own = AlternativesOf(document_.node(schema), 0);
      if (!own.ok()) return own.status();
      auto product = Product(alternatives, **own, document_.node(schema));
      if (!product.ok()) return product.status();
      alternatives = *std::move(product);
    }
    std::vector<GrammarNode> ways;
    for (const Conjunction& alternative : alternatives) {
      const auto shape_rule = RuleForShape(alternative);
      if (!shape_rule.ok()) return shape_rule.status();
      ways.push_back(builder_.Call(*shape_rule, builder_.End()));
    }
    builder_.Define(rule, builder_.Choice(ways));
    return absl::OkStatus();
  }

  // INVALID_ARGUMENT at `place` if that was too much.
  absl::Status CheckSize(const SchemaNode& place) const {
    const absl::Status status = builder_.Check();
    return status.ok() ? status : SchemaError(place.pointer, ToStdView(status.message()));
  }

  static int64_t BytesOf(const Conjunction& conjunction) {
    constexpr int64_t kConjunctionBytes = 96;  // and its place in a table
    return kConjunctionBytes + static_cast<int64_t>(conjunction.size() * sizeof(int));
  }

  // What satisfies `a` or `b` alone, for each pair of them together.
  absl::StatusOr<std::vector<Conjunction>> Product(const std::vector<Conjunction>& a,
                                                   const std::vector<Conjunction>& b,
                                                   const SchemaNode& place) {
    std::vector<Conjunction> product;
    absl::flat_hash_set<Conjunction> seen;
    if (a.size() * b.size() > kMaxAlternatives) {
      return SchemaError(place.pointer,
                         Concat("more than ", kMaxAlternatives, " combinations of alternatives"));
    }
    for (const Conjunction& one : a) {
      for (const Conjunction& other : b) {
        Conjunction both = Together(one, other);
        budget_.Step(1 + static_cast<int64_t>(both.size()));
        if (!seen.insert(both).second) continue;
        budget_.Hold(2 * BytesOf(both));
        product.push_back(std::move(both));
        if (absl::Status status = CheckSize(place); !status.ok()) return status;
      }
    }
    return product;
  }

  // The schemas without references and combinators of which a value has to satisfy one set, or another, to
  // satisfy `node`.
  absl::StatusOr<const std::vector<Conjunction>*> AlternativesOf(const SchemaNode& node, int depth) {
    Alternatives& known = alternatives_[node.index];
    if (known.state == Alternatives::State::kDone) return &known.sets;
    if (known.state == Alternatives::State::kOpen) {
      return SchemaError(node.pointer, "the schema refers to itself without a value in between");
    }
    if (depth > kMaxReferenceDepth) return SchemaError(node.pointer, "too long a chain of references");
    known.state = Alternatives::State::kOpen;
    std::vector<Conjunction> sets;
    if (!node.nothing) sets.push_back(node.restricts ? Conjunction{node.index} : Conjunction{});
    std::vector<SchemaNode::Ref> all = node.all_of;
    if (node.reference != nullptr) all.push_back(node.reference);
    for (const SchemaNode* part : all) {
      if (absl::Status status = Restrict({part}, node, depth, sets); !status.ok()) return status;
    }
    for (const std::vector<SchemaNode::Ref>& any : node.any_of) {
      if (absl::Status status = Restrict(any, node, depth, sets); !status.ok()) return status;
    }
    known = {Alternatives::State::kDone, std::move(sets)};
    return &known.sets;
  }

  // Leaves of `sets` what satisfies one of `any`, too.
  absl::Status Restrict(const std::vector<SchemaNode::Ref>& any, const SchemaNode& node, int depth,
                        std::vector<Conjunction>& sets) {
    std::vector<Conjunction> either;
    for (const SchemaNode* branch : any) {
      const auto own = AlternativesOf(*branch, depth + 1);
      if (!own.ok()) return own.status();
      for (const Conjunction& one : **own) {
        budget_.Step(1 + static_cast<int64_t>(one.size()));
        either.push_back(one);
      }
      if (either.size() > kMaxAlternatives) break;  // Product says so
    }
    auto product = Product(sets, either, node);
    if (!product.ok()) return product.status();
    sets = *std::move(product);
    return absl::OkStatus();
  }

  absl::StatusOr<Shape> Merge(const Conjunction& conjunction) {
    Shape shape;
    for (const int index : conjunction) {
      const SchemaNode& node = document_.node(index);
      budget_.Step();
      shape.nodes.push_back(&node);
      shape.types &= node.types;
      if (node.choices) MergeChoices(node, shape);
      shape.min_length = std::max(shape.min_length, node.min_length);
      TightenMax(shape.max_length, node.max_length);
      shape.has_patterns = shape.has_patterns || !node.pattern.empty() || !node.format.empty();
      if (absl::Status status = MergeNumbers(node, shape); !status.ok()) return status;
      shape.min_items = std::max(shape.min_items, node.min_items);
      TightenMax(shape.max_items, node.max_items);
      if (node.min_properties > shape.min_properties) {
        shape.min_properties = node.min_properties;
        shape.min_properties_from = &node;
      }
      if (node.max_properties >= 0) {
        TightenMax(shape.max_properties, node.max_properties);
        shape.max_properties_from = &node;
      }
      shape.has_array_keywords = shape.has_array_keywords || node.has_array_keywords;
      shape.has_object_keywords = shape.has_object_keywords || node.has_object_keywords;
    }
    return shape;
  }

  void MergeChoices(const SchemaNode& node, Shape& shape) {
    budget_.Step(static_cast<int64_t>(node.choices->size()));
    if (!shape.choices) {
      shape.choices = node.choices;
      shape.choices_from = &node;
      return;
    }
    std::vector<int> both;
    std::set_intersection(shape.choices->begin(), shape.choices->end(), node.choices->begin(),
                          node.choices->end(), std::back_inserter(both));
    shape.choices = std::move(both);
  }

  static absl::Status MergeNumbers(const SchemaNode& node, Shape& shape) {
    if (node.numbers.lower) shape.numbers.RaiseLower(*node.numbers.lower);
    if (node.numbers.upper) shape.numbers.LowerUpper(*node.numbers.upper);
    shape.numbers.whole = shape.numbers.whole || node.numbers.whole;
    if (!node.numbers.multiple_of) return absl::OkStatus();
    const int64_t multiple =
        std::lcm(int64_t{shape.numbers.multiple_of.value_or(1)}, int64_t{*node.numbers.multiple_of});
    if (multiple > kMaxMultiple) {
      return SchemaError(node.pointer + "/multipleOf",
                         Concat("with others it amounts to more than ", kMaxMultiple));
    }
    shape.numbers.multiple_of = static_cast<int32_t>(multiple);
    return absl::OkStatus();
  }

  absl::StatusOr<GrammarRule> RuleForShape(const Conjunction& conjunction) {
    if (conjunction.empty()) return text_.Value();
    const auto known = shape_rules_.find(conjunction);
    if (known != shape_rules_.end()) return known->second;
    absl::StatusOr<Shape> shape = Merge(conjunction);
    if (!shape.ok()) return shape.status();
    absl::StatusOr<std::vector<GrammarRule>> rules = RulesOf(*shape);
    if (!rules.ok()) return rules.status();
    std::vector<GrammarNode> ways;
    for (const GrammarRule rule : *rules) ways.push_back(builder_.Call(rule, builder_.End()));
    const GrammarRule rule = builder_.AddRule("value");
    builder_.Define(rule, builder_.Choice(ways));
    budget_.Hold(BytesOf(conjunction));
    if (absl::Status status = CheckSize(*shape->nodes.front()); !status.ok()) return status;
    return shape_rules_[conjunction] = rule;
  }

  // One for each type that the value may have.
  absl::StatusOr<std::vector<GrammarRule>> RulesOf(Shape& shape) {
    std::vector<absl::StatusOr<GrammarRule>> rules;
    if (shape.choices) {
      rules.push_back(ChoiceRule(shape));
    } else {
      if (shape.types & kObjectType) rules.push_back(ObjectRule(shape));
      if (shape.types & kArrayType) rules.push_back(ArrayRule(shape));
      if (shape.types & kStringType) rules.push_back(StringRule(shape));
      if (shape.types & kIntegerType) rules.push_back(NumberRule(shape));  // numbers are integers, too
      if (shape.types & kBooleanType) rules.push_back(text_.Boolean());
      if (shape.types & kNullType) rules.push_back(text_.Null());
    }
    std::vector<GrammarRule> made;
    for (const absl::StatusOr<GrammarRule>& rule : rules) {
      if (!rule.ok()) return rule.status();
      made.push_back(*rule);
    }
    return made;
  }

  static bool HasNumber(const NumberBounds& bounds) {
    return bounds.lower || bounds.upper || bounds.multiple_of;
  }

  static NumberBounds BoundsOf(const Shape& shape) {
    NumberBounds bounds = shape.numbers;
    bounds.whole = bounds.whole || !(shape.types & kNumberType);
    return bounds;
  }

  GrammarRule NumberRule(const Shape& shape) {
    const NumberBounds bounds = BoundsOf(shape);
    if (!HasNumber(bounds)) return bounds.whole ? text_.Integer() : text_.Number();
    return text_.Plain(NumbersWithin(bounds, languages_));
  }

  // What a pattern of the document means; found once.
  absl::StatusOr<Expression> PatternOf(const std::string& pattern) {
    if (const auto known = patterns_.find(&pattern); known != patterns_.end()) return known->second;
    absl::StatusOr<Expression> texts = ParseTextPattern(pattern, languages_);
    if (texts.ok()) patterns_[&pattern] = *texts;
    return texts;
  }

  // The strings that have all patterns, formats and lengths.
  absl::StatusOr<Expression> StringsOf(const Shape& shape) {
    const Expression character = languages_.Character(CodePointSet::All());
    Expression strings = languages_.Repeat(character, shape.min_length, shape.max_length);
    for (const SchemaNode* node : shape.nodes) {
      for (const auto& [keyword, pattern] :
           {std::pair{"/pattern", &node->pattern}, {"/format", &node->format}}) {
        if (pattern->empty()) continue;
        const absl::StatusOr<Expression> texts = PatternOf(*pattern);
        if (!texts.ok()) return SchemaError(node->pointer + keyword, ToStdView(texts.status().message()));
        strings = languages_.Both(strings, *texts);
      }
    }
    return strings;
  }

  absl::StatusOr<GrammarRule> StringRule(const Shape& shape) {
    if (shape.max_length >= 0 && shape.max_length < shape.min_length) return text_.OneOf({});
    if (!shape.has_patterns) {
      if (shape.min_length == 0 && shape.max_length < 0) return text_.String();
      return text_.String(shape.min_length, shape.max_length);
    }
    const absl::StatusOr<Expression> strings = StringsOf(shape);
    if (!strings.ok()) return strings.status();
    return text_.String(*strings);
  }

  static bool HasLength(const std::string& text, const Shape& shape) {
    const auto begins_character = [](char byte) { return (static_cast<uint8_t>(byte) & 0xC0) != 0x80; };
    const int64_t characters = std::count_if(text.begin(), text.end(), begins_character);
    return characters >= shape.min_length && (shape.max_length < 0 || characters <= shape.max_length);
  }

  // The listed values that fit everything else that is asked for.
  absl::StatusOr<GrammarRule> ChoiceRule(const Shape& shape) {
    std::optional<Expression> strings;
    if (shape.has_patterns) {
      const absl::StatusOr<Expression> expression = StringsOf(shape);
      if (!expression.ok()) return expression.status();
      strings = *expression;
    }
    const NumberBounds bounds = BoundsOf(shape);
    std::vector<std::string_view> texts;
    for (const int index : *shape.choices) {
      const SchemaValue& value = document_.value(index);
      budget_.Step(1 + static_cast<int64_t>(value.written.size()));
      if (!(shape.types & value.type)) continue;
      if (value.type == kStringType && !HasLength(value.text, shape)) continue;
      if (value.type == kStringType && strings && !languages_.Matches(*strings, value.text)) continue;
      if ((value.type & (kIntegerType | kNumberType)) && (bounds.whole || HasNumber(bounds)) &&
          !(value.number && bounds.Contains(*value.number))) {
        continue;
      }
      if ((value.type == kArrayType && shape.has_array_keywords) ||
          (value.type == kObjectType && shape.has_object_keywords)) {
        return SchemaError(shape.choices_from->pointer,
                           "arrays and objects in enum or const cannot be checked against other keywords");
      }
      texts.push_back(value.written);
    }
    return text_.OneOf(std::move(texts));
  }

  absl::StatusOr<GrammarRule> ArrayRule(const Shape& shape) {
    JsonArrayForm form;
    form.min = shape.min_items;
    form.max = shape.max_items;
    if (form.max >= 0 && form.max < form.min) return text_.OneOf({});
    size_t prefix = 0;
    bool has_items = false;
    for (const SchemaNode* node : shape.nodes) {
      prefix = std::max(prefix, node->prefix_items.size());
      has_items = has_items || node->items != nullptr;
    }
    const auto element = [&](size_t i) {
      std::vector<const SchemaNode*> schemas;
      for (const SchemaNode* node : shape.nodes) {
        budget_.Step();
        const SchemaNode* own = i < node->prefix_items.size() ? node->prefix_items[i] : node->items;
        if (own != nullptr) schemas.push_back(own);
      }
      return RuleFor(schemas);
    };
    for (size_t i = 0; i < prefix && !builder_.full(); ++i) form.prefix.push_back(element(i));
    // Behind listed elements nobody expects others, unless they are asked for.
    const bool asked = has_items || prefix == 0 || form.min > static_cast<int64_t>(prefix);
    if (asked) form.rest = element(prefix);
    return text_.Array(form);
  }

  // The names of all properties: as the schemas list them, then those that are only required.
  std::vector<std::string> NamesOf(const Shape& shape) {
    std::vector<std::string> names;
    absl::flat_hash_set<std::string> seen;
    const auto add = [&](const std::string& name) {
      budget_.Step();
      if (seen.insert(name).second) names.push_back(name);
    };
    for (const SchemaNode* node : shape.nodes) {
      for (const auto& property : node->properties) add(property.first);
    }
    for (const SchemaNode* node : shape.nodes) {
      for (const std::string& name : node->required) add(name);
    }
    return names;
  }

  GrammarRule PropertyRule(const Shape& shape, const std::string& name) {
    std::vector<const SchemaNode*> schemas;
    for (const SchemaNode* node : shape.nodes) {
      budget_.Step();
      const auto own = node->property_table.find(name);
      const SchemaNode* schema = own != node->property_table.end() ? own->second : node->additional;
      if (schema != nullptr) schemas.push_back(schema);
    }
    return text_.Pair(name, RuleFor(schemas));
  }

  // Properties that no schema lists, if there may be any.
  std::optional<GrammarRule> FurtherRule(const Shape& shape, const std::vector<std::string>& names) {
    std::vector<const SchemaNode*> schemas;
    bool forbidden = false;
    for (const SchemaNode* node : shape.nodes) {
      if (node->additional == nullptr) continue;
      schemas.push_back(node->additional);
      forbidden = forbidden || node->additional->nothing;
    }
    // Beside listed properties nobody expects others, unless they are asked for.
    if (forbidden || (schemas.empty() && !names.empty())) return std::nullopt;
    if (names.empty()) return text_.Pair(text_.Key(), RuleFor(schemas));
    std::vector<Expression> literals;
    for (const std::string& name : names) literals.push_back(languages_.Literal(name));
    const Expression others = languages_.Not(languages_.Either(std::move(literals)));
    return text_.Pair(text_.Key(others), RuleFor(schemas));
  }

  absl::StatusOr<GrammarRule> ObjectRule(const Shape& shape) {
    const std::vector<std::string> names = NamesOf(shape);
    absl::flat_hash_set<std::string> required;
    for (const SchemaNode* node : shape.nodes) required.insert(node->required.begin(), node->required.end());
    JsonObjectForm form;
    for (const std::string& name : names) {
      if (builder_.full()) break;
      form.members.push_back({PropertyRule(shape, name), required.contains(name)});
    }
    form.more = FurtherRule(shape, names);
    if (absl::Status status = LimitProperties(shape, required.size(), form); !status.ok()) return status;
    const int64_t needed = static_cast<int64_t>(required.size());
    if (shape.max_properties >= 0 && shape.max_properties < needed) return text_.OneOf({});
    return text_.Object(form);
  }

  // minProperties and maxProperties, as far as counting pairs tells how many properties there are: a key that
  // the schema does not list may come twice.
  static absl::Status LimitProperties(const Shape& shape, size_t required, JsonObjectForm& form) {
    const int64_t needed = static_cast<int64_t>(required);
    if (shape.min_properties > needed) {
      if (shape.min_properties > 1) {
        return SchemaError(shape.min_properties_from->pointer + "/minProperties",
                           "more than 1, and more than the required properties, cannot be enforced");
      }
      form.may_be_empty = false;
    }
    if (shape.max_properties < 0) return absl::OkStatus();
    const int64_t listed = static_cast<int64_t>(form.members.size());
    if (listed > shape.max_properties && shape.max_properties >= needed) {
      return SchemaError(shape.max_properties_from->pointer + "/maxProperties",
                         "fewer than the listed properties cannot be enforced");
    }
    form.max_more = std::max<int64_t>(shape.max_properties - listed, 0);
    return absl::OkStatus();
  }

  struct Alternatives {
    enum class State { kNew, kOpen, kDone };
    State state = State::kNew;
    std::vector<Conjunction> sets;
  };

  const SchemaDocument& document_;
  CompileBudget& budget_;
  GrammarBuilder builder_;
  TextLanguages languages_;
  JsonText text_;
  std::vector<Alternatives> alternatives_;  // of each schema
  absl::flat_hash_map<Conjunction, GrammarRule> rules_;
  absl::flat_hash_map<Conjunction, GrammarRule> shape_rules_;
  absl::flat_hash_map<const std::string*, Expression> patterns_;
  std::vector<std::pair<Conjunction, GrammarRule>> waiting_;
};

}  // namespace

absl::StatusOr<Grammar> CompileJsonSchema(std::string_view schema) {
  CompileBudget budget;
  const absl::StatusOr<SchemaDocument> document = SchemaDocument::Read(schema, budget);
  if (!document.ok()) return document.status();
  return SchemaCompiler(*document, budget).Compile();
}

absl::StatusOr<Grammar> CompileJsonObject() {
  CompileBudget budget;
  GrammarBuilder builder(budget);
  TextLanguages languages(budget);
  JsonText text(builder, languages);
  const GrammarRule root = builder.AddRule("root");
  builder.Define(root, text.Space(builder.Call(text.AnyObject(), builder.End())));
  return std::move(builder).Build(root);
}

}  // namespace memgate
