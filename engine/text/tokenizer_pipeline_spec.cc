#include "engine/text/tokenizer_pipeline_spec.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "engine/text/json_reading.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr size_t kMaxSteps = 32;       // of a component, Sequences in it included; published files have five
constexpr int kMaxRewritingSteps = 4;  // published files have at most one
// Of a fixed string that is looked for: comparing it at every place of a text takes time in proportion.
constexpr size_t kMaxLiteralBytes = 256;

absl::Status Invalid(std::string_view message) {
  return absl::InvalidArgumentError(Concat("tokenizer.json: ", message));
}

absl::Status Unsupported(std::string_view what) {
  return absl::UnimplementedError(Concat("tokenizer.json: ", what, " is not supported"));
}

// Calls `read` for each step of a Sequence, or for the one component that is not a Sequence. `count` is that
// of the steps and Sequences so far.
template <typename Read>
absl::Status ForEachStep(const json& component, const char* list_key, std::string_view where, Read read,
                         size_t& count) {
  if (component.is_null()) return absl::OkStatus();
  const absl::StatusOr<std::string> type = JsonType(component, Concat("tokenizer.json ", where));
  if (!type.ok()) return type.status();
  if (++count > kMaxSteps + 1) return Invalid(Concat(where, ": more than ", kMaxSteps, " steps"));
  if (*type != "Sequence") return read(component, *type);
  const json& steps = JsonMember(component, list_key);
  if (!steps.is_array()) return Invalid(Concat(where, ": \"", list_key, "\" is not an array"));
  for (const json& step : steps) {
    if (absl::Status status = ForEachStep(step, list_key, where, read, count); !status.ok()) return status;
  }
  return absl::OkStatus();
}

template <typename Read>
absl::Status ForEachStep(const json& component, const char* list_key, std::string_view where, Read read) {
  size_t count = 0;
  return ForEachStep(component, list_key, where, read, count);
}

// What the library keeps as one character.
absl::Status CheckCharacter(std::string_view text, const char* key, std::string_view where) {
  if (!text.empty() && CheckUtf8(text).ok() && ReadUtf8(text).bytes == text.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat(where, ": \"", key, "\" is not one character"));
}

struct PatternSpec {
  std::string text;
  bool is_literal = false;
};

absl::StatusOr<PatternSpec> ReadPattern(const json& step, std::string_view where) {
  const json& pattern = JsonMember(step, "pattern");
  for (const auto& [key, is_literal] : {std::pair{"String", true}, {"Regex", false}}) {
    const json& value = JsonMember(pattern, key);
    if (!value.is_string()) continue;
    PatternSpec spec{value.get<std::string>(), is_literal};
    if (spec.text.empty()) return Invalid(Concat(where, ": the pattern is empty"));
    if (is_literal && spec.text.size() > kMaxLiteralBytes) {
      return Invalid(
          Concat(where, ": the string has ", spec.text.size(), " bytes, more than ", kMaxLiteralBytes));
    }
    return spec;
  }
  return Invalid(Concat(where, ": \"pattern\" is neither {\"String\": ...} nor {\"Regex\": ...}"));
}

absl::Status ReadReplace(const json& step, TokenizerSpec& spec) {
  absl::StatusOr<PatternSpec> pattern = ReadPattern(step, "normalizer Replace");
  if (!pattern.ok()) return pattern.status();
  absl::StatusOr<std::string> content = JsonString(step, "content", "", "tokenizer.json normalizer Replace");
  if (!content.ok()) return content.status();
  spec.normalizer.push_back(ReplaceRule{pattern->text, *std::move(content), pattern->is_literal});
  return absl::OkStatus();
}

absl::Status ReadStrip(const json& step, TokenizerSpec& spec) {
  StripRule rule;
  for (const auto& [key, flag] : {std::pair{"strip_left", &rule.left}, {"strip_right", &rule.right}}) {
    const absl::StatusOr<bool> value = JsonBool(step, key, true, "tokenizer.json normalizer Strip");
    if (!value.ok()) return value.status();
    *flag = *value;
  }
  spec.normalizer.push_back(rule);
  return absl::OkStatus();
}

absl::Status ReadCharsmap(const json& step, TokenizerSpec& spec) {
  const absl::StatusOr<std::string> base64 =
      JsonString(step, "precompiled_charsmap", "", "tokenizer.json normalizer Precompiled");
  if (!base64.ok()) return base64.status();
  if (base64->empty()) return absl::OkStatus();
  SentencePieceRule rule;
  if (!absl::Base64Unescape(*base64, &rule.charsmap)) {
    return Invalid("normalizer Precompiled: precompiled_charsmap is not Base64");
  }
  spec.normalizer.push_back(std::move(rule));
  return absl::OkStatus();
}

absl::Status ReadNormalizerStep(const json& step, const std::string& type, TokenizerSpec& spec) {
  const std::pair<const char*, NormalizerRule> rules[] = {{"NFC", UnicodeRule{NormalizationForm::kNfc}},
                                                          {"NFD", UnicodeRule{NormalizationForm::kNfd}},
                                                          {"NFKC", UnicodeRule{NormalizationForm::kNfkc}},
                                                          {"NFKD", UnicodeRule{NormalizationForm::kNfkd}},
                                                          {"Lowercase", LowercaseRule{}},
                                                          {"StripAccents", StripAccentsRule{}},
                                                          {"Nmt", NmtRule{}}};
  for (const auto& [name, rule] : rules) {
    if (type != name) continue;
    spec.normalizer.push_back(rule);
    return absl::OkStatus();
  }
  if (type == "Replace") return ReadReplace(step, spec);
  if (type == "Strip") return ReadStrip(step, spec);
  if (type == "Precompiled") return ReadCharsmap(step, spec);
  if (type == "Prepend") {
    absl::StatusOr<std::string> prefix = JsonString(step, "prepend", "", "tokenizer.json normalizer Prepend");
    if (!prefix.ok()) return prefix.status();
    spec.normalizer.push_back(PrependRule{*std::move(prefix)});
    return absl::OkStatus();
  }
  return Unsupported(Concat("normalizer ", Quoted(type)));
}

absl::StatusOr<MetaspaceRule> ReadMetaspace(const json& step, std::string_view where) {
  MetaspaceRule rule;
  absl::StatusOr<std::string> mark = JsonString(step, "replacement", "\xE2\x96\x81", where);
  if (!mark.ok()) return mark.status();
  if (absl::Status status = CheckCharacter(*mark, "replacement", where); !status.ok()) return status;
  rule.mark = *std::move(mark);
  // Files from before prepend_scheme say add_prefix_space.
  const absl::StatusOr<bool> add = JsonBool(step, "add_prefix_space", true, where);
  if (!add.ok()) return add.status();
  const absl::StatusOr<std::string> scheme =
      JsonString(step, "prepend_scheme", *add ? "always" : "never", where);
  if (!scheme.ok()) return scheme.status();
  if (*scheme == "always") {
    rule.prepend = PrependScheme::kAlways;
  } else if (*scheme == "first") {
    rule.prepend = PrependScheme::kFirst;
  } else if (*scheme != "never") {
    return absl::InvalidArgumentError(Concat(where, ": unknown prepend_scheme ", Quoted(*scheme)));
  }
  return rule;
}

absl::StatusOr<SplitBehavior> ReadBehavior(const json& step, std::string_view fallback,
                                           std::string_view where) {
  const absl::StatusOr<std::string> name = JsonString(step, "behavior", fallback, where);
  if (!name.ok()) return name.status();
  constexpr std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  for (const auto& [known, behavior] : kBehaviors) {
    if (*name == known) return behavior;
  }
  return absl::InvalidArgumentError(Concat(where, ": unknown behavior ", Quoted(*name)));
}

absl::Status ReadSplit(const json& step, std::string_view where, TokenizerSpec& spec) {
  absl::StatusOr<PatternSpec> pattern = ReadPattern(step, "pre_tokenizer Split");
  if (!pattern.ok()) return pattern.status();
  const absl::StatusOr<SplitBehavior> behavior = ReadBehavior(step, "", where);
  if (!behavior.ok()) return behavior.status();
  const absl::StatusOr<bool> invert = JsonBool(step, "invert", false, where);
  if (!invert.ok()) return invert.status();
  spec.pre_tokenizer.push_back(SplitRule{pattern->text, pattern->is_literal, *behavior, *invert});
  return absl::OkStatus();
}

absl::Status ReadDigits(const json& step, std::string_view where, TokenizerSpec& spec) {
  const absl::StatusOr<bool> individual = JsonBool(step, "individual_digits", false, where);
  if (!individual.ok()) return individual.status();
  spec.pre_tokenizer.push_back(SplitRule{*individual ? "\\p{N}" : "\\p{N}+"});
  return absl::OkStatus();
}

// Unicode's punctuation and all of ASCII's, which has symbols among it.
absl::Status ReadPunctuation(const json& step, std::string_view where, TokenizerSpec& spec) {
  const absl::StatusOr<SplitBehavior> behavior = ReadBehavior(step, "Isolated", where);
  if (!behavior.ok()) return behavior.status();
  spec.pre_tokenizer.push_back(SplitRule{R"([\p{P}$+<=>^`|~])", false, *behavior});
  return absl::OkStatus();
}

absl::Status ReadDelimiter(const json& step, std::string_view where, TokenizerSpec& spec) {
  absl::StatusOr<std::string> delimiter = JsonString(step, "delimiter", "", where);
  if (!delimiter.ok()) return delimiter.status();
  if (absl::Status status = CheckCharacter(*delimiter, "delimiter", where); !status.ok()) return status;
  spec.pre_tokenizer.push_back(SplitRule{*std::move(delimiter), true, SplitBehavior::kRemoved});
  return absl::OkStatus();
}

absl::Status ReadByteLevel(const json& step, std::string_view where, TokenizerSpec& spec) {
  const absl::StatusOr<bool> use_regex = JsonBool(step, "use_regex", true, where);
  if (!use_regex.ok()) return use_regex.status();
  const absl::StatusOr<bool> prefix = JsonBool(step, "add_prefix_space", true, where);
  if (!prefix.ok()) return prefix.status();
  spec.model.alphabet = Alphabet::kBytes;
  if (*prefix) spec.pre_tokenizer.push_back(PrefixSpaceRule{});
  if (*use_regex) spec.pre_tokenizer.push_back(SplitRule{std::string(kGpt2Pattern)});
  return absl::OkStatus();
}

absl::Status ReadMetaspaceStep(const json& step, std::string_view where, TokenizerSpec& spec) {
  absl::StatusOr<MetaspaceRule> metaspace = ReadMetaspace(step, where);
  if (!metaspace.ok()) return metaspace.status();
  const absl::StatusOr<bool> split = JsonBool(step, "split", true, where);
  if (!split.ok()) return split.status();
  spec.space_mark = metaspace->mark;
  spec.pre_tokenizer.push_back(*metaspace);
  if (*split) spec.pre_tokenizer.push_back(SplitRule{metaspace->mark, true, SplitBehavior::kMergedWithNext});
  return absl::OkStatus();
}

// Each of them may keep a copy of every piece while a text is encoded.
absl::Status CheckRewritingSteps(const TokenizerSpec& spec) {
  const auto rewrites = [](const PreTokenizerRule& rule) { return !std::holds_alternative<SplitRule>(rule); };
  const auto count = std::count_if(spec.pre_tokenizer.begin(), spec.pre_tokenizer.end(), rewrites);
  if (count <= kMaxRewritingSteps) return absl::OkStatus();
  return Invalid(
      Concat("pre_tokenizer: more than ", kMaxRewritingSteps, " steps that put something into a text"));
}

absl::Status ReadPreTokenizerStep(const json& step, const std::string& type, TokenizerSpec& spec) {
  const std::string where = Concat("tokenizer.json pre_tokenizer ", type);
  if (type == "Split") return ReadSplit(step, where, spec);
  if (type == "ByteLevel") return ReadByteLevel(step, where, spec);
  if (type == "Metaspace") return ReadMetaspaceStep(step, where, spec);
  if (type == "Digits") return ReadDigits(step, where, spec);
  if (type == "Punctuation") return ReadPunctuation(step, where, spec);
  if (type == "CharDelimiterSplit") return ReadDelimiter(step, where, spec);
  if (type == "Whitespace") {  // words, and runs of what is neither word nor space
    constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D})";
    spec.pre_tokenizer.push_back(
        SplitRule{Concat("[", kWord, "]+|[^", kWord, "\\s]+"), false, SplitBehavior::kRemoved, true});
    return absl::OkStatus();
  }
  if (type == "WhitespaceSplit") {
    spec.pre_tokenizer.push_back(SplitRule{R"(\s)", false, SplitBehavior::kRemoved});
    return absl::OkStatus();
  }
  return Unsupported(Concat("pre_tokenizer ", Quoted(type)));
}

absl::Status ReadDecoderStep(const json& step, const std::string& type, TokenizerSpec& spec) {
  const std::string where = Concat("tokenizer.json decoder ", type);
  if (type == "ByteLevel" || type == "Fuse") return absl::OkStatus();
  if (type == "ByteFallback") {
    spec.model.byte_fallback = true;
    return absl::OkStatus();
  }
  if (type == "Replace") {
    const absl::StatusOr<PatternSpec> pattern = ReadPattern(step, "decoder Replace");
    if (!pattern.ok()) return pattern.status();
    const absl::StatusOr<std::string> content = JsonString(step, "content", "", where);
    if (!content.ok()) return content.status();
    if (!pattern->is_literal || *content != " ")
      return Unsupported("decoder Replace other than of a space mark");
    spec.space_mark = pattern->text;
    return absl::OkStatus();
  }
  if (type == "Strip") {
    const absl::StatusOr<std::string> content = JsonString(step, "content", "", where);
    if (!content.ok()) return content.status();
    const json& start = JsonMember(step, "start");
    const json& stop = JsonMember(step, "stop");
    if (*content != " " || start != 1 || !(stop.is_null() || stop == 0)) {
      return Unsupported("decoder Strip other than of one leading space");
    }
    spec.strips_leading_space = true;
    return absl::OkStatus();
  }
  if (type == "Metaspace") {
    const absl::StatusOr<MetaspaceRule> metaspace = ReadMetaspace(step, where);
    if (!metaspace.ok()) return metaspace.status();
    spec.space_mark = metaspace->mark;
    spec.strips_leading_space = metaspace->prepend != PrependScheme::kNever;
    return absl::OkStatus();
  }
  return Unsupported(Concat("decoder ", Quoted(type)));
}

}  // namespace

absl::Status ReadPipeline(const json& root, TokenizerSpec& spec) {
  const json& decoder = JsonMember(root, "decoder");
  const bool byte_decoder = JsonMember(decoder, "type") == "ByteLevel";
  spec.model.alphabet = byte_decoder ? Alphabet::kBytes : Alphabet::kCharacters;
  absl::Status status = ForEachStep(
      JsonMember(root, "normalizer"), "normalizers", "normalizer",
      [&](const json& step, const std::string& type) { return ReadNormalizerStep(step, type, spec); });
  if (!status.ok()) return status;
  status = ForEachStep(
      JsonMember(root, "pre_tokenizer"), "pretokenizers", "pre_tokenizer",
      [&](const json& step, const std::string& type) { return ReadPreTokenizerStep(step, type, spec); });
  if (status.ok()) status = CheckRewritingSteps(spec);
  if (!status.ok()) return status;
  return ForEachStep(decoder, "decoders", "decoder", [&](const json& step, const std::string& type) {
    return ReadDecoderStep(step, type, spec);
  });
}

}  // namespace memgate
