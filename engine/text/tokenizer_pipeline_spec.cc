#include "engine/text/tokenizer_pipeline_spec.h"

#include <optional>
#include <string>
#include <utility>

#include "engine/text/json_reading.h"
#include "engine/text/strings.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr size_t kMaxSteps = 32;  // of a Sequence; published files have at most five

absl::Status Invalid(std::string_view message) {
  return absl::InvalidArgumentError(Concat("tokenizer.json: ", message));
}

absl::Status Unsupported(std::string_view what) {
  return absl::UnimplementedError(Concat("tokenizer.json: ", what, " is not supported"));
}

// Calls `read` for each step of a Sequence, or for the one component that is not a Sequence.
template <typename Read>
absl::Status ForEachStep(const json& component, const char* list_key, std::string_view where, Read read) {
  if (component.is_null()) return absl::OkStatus();
  const absl::StatusOr<std::string> type = JsonType(component, Concat("tokenizer.json ", where));
  if (!type.ok()) return type.status();
  if (*type != "Sequence") return read(component, *type);
  const json& steps = JsonMember(component, list_key);
  if (!steps.is_array()) return Invalid(Concat(where, ": \"", list_key, "\" is not an array"));
  if (steps.size() > kMaxSteps) return Invalid(Concat(where, ": more than ", kMaxSteps, " steps"));
  for (const json& step : steps) {
    if (absl::Status status = ForEachStep(step, list_key, where, read); !status.ok()) return status;
  }
  return absl::OkStatus();
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
    if (value.get_ref<const std::string&>().empty()) return Invalid(Concat(where, ": the pattern is empty"));
    return PatternSpec{value.get<std::string>(), is_literal};
  }
  return Invalid(Concat(where, ": \"pattern\" is neither {\"String\": ...} nor {\"Regex\": ...}"));
}

absl::Status ReadNormalizerStep(const json& step, const std::string& type, TokenizerSpec& spec) {
  if (type == "Prepend") {
    absl::StatusOr<std::string> prefix = JsonString(step, "prepend", "", "tokenizer.json normalizer Prepend");
    if (!prefix.ok()) return prefix.status();
    spec.normalizer.push_back(PrependRule{*std::move(prefix)});
    return absl::OkStatus();
  }
  if (type == "Replace") {
    absl::StatusOr<PatternSpec> pattern = ReadPattern(step, "normalizer Replace");
    if (!pattern.ok()) return pattern.status();
    if (!pattern->is_literal) return Unsupported("normalizer Replace with a Regex");
    absl::StatusOr<std::string> content =
        JsonString(step, "content", "", "tokenizer.json normalizer Replace");
    if (!content.ok()) return content.status();
    spec.normalizer.push_back(ReplaceRule{pattern->text, *std::move(content)});
    return absl::OkStatus();
  }
  const std::pair<const char*, NormalizationForm> forms[] = {{"NFC", NormalizationForm::kNfc},
                                                             {"NFD", NormalizationForm::kNfd},
                                                             {"NFKC", NormalizationForm::kNfkc},
                                                             {"NFKD", NormalizationForm::kNfkd}};
  for (const auto& [name, form] : forms) {
    if (type == name) {
      spec.normalizer.push_back(UnicodeRule{form});
      return absl::OkStatus();
    }
  }
  return Unsupported(Concat("normalizer ", Quoted(type)));
}

absl::StatusOr<MetaspaceSpec> ReadMetaspace(const json& step, std::string_view where) {
  MetaspaceSpec spec;
  absl::StatusOr<std::string> mark = JsonString(step, "replacement", "\xE2\x96\x81", where);
  if (!mark.ok()) return mark.status();
  if (mark->empty()) return absl::InvalidArgumentError(Concat(where, ": \"replacement\" is empty"));
  spec.mark = *std::move(mark);
  // Files from before prepend_scheme say add_prefix_space.
  const absl::StatusOr<bool> add = JsonBool(step, "add_prefix_space", true, where);
  if (!add.ok()) return add.status();
  const absl::StatusOr<std::string> scheme =
      JsonString(step, "prepend_scheme", *add ? "always" : "never", where);
  if (!scheme.ok()) return scheme.status();
  if (*scheme == "always") {
    spec.prepend = PrependScheme::kAlways;
  } else if (*scheme == "first") {
    spec.prepend = PrependScheme::kFirst;
  } else if (*scheme != "never") {
    return absl::InvalidArgumentError(Concat(where, ": unknown prepend_scheme ", Quoted(*scheme)));
  }
  return spec;
}

absl::StatusOr<SplitBehavior> ReadBehavior(const json& step) {
  const absl::StatusOr<std::string> name =
      JsonString(step, "behavior", "", "tokenizer.json pre_tokenizer Split");
  if (!name.ok()) return name.status();
  if (*name == "Isolated") return SplitBehavior::kIsolated;
  if (*name == "Removed") return SplitBehavior::kRemoved;
  if (*name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (*name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  return Unsupported(Concat("pre_tokenizer Split behavior ", Quoted(*name)));
}

absl::Status ReadPreTokenizerStep(const json& step, const std::string& type, TokenizerSpec& spec) {
  const std::string where = Concat("tokenizer.json pre_tokenizer ", type);
  if (type == "Split") {
    absl::StatusOr<PatternSpec> pattern = ReadPattern(step, "pre_tokenizer Split");
    if (!pattern.ok()) return pattern.status();
    const absl::StatusOr<SplitBehavior> behavior = ReadBehavior(step);
    if (!behavior.ok()) return behavior.status();
    const absl::StatusOr<bool> invert = JsonBool(step, "invert", false, where);
    if (!invert.ok()) return invert.status();
    spec.splits.push_back({pattern->text, pattern->is_literal, *behavior, *invert});
    return absl::OkStatus();
  }
  if (type == "Digits") {
    const absl::StatusOr<bool> individual = JsonBool(step, "individual_digits", false, where);
    if (!individual.ok()) return individual.status();
    spec.splits.push_back({*individual ? "\\p{N}" : "\\p{N}+"});
    return absl::OkStatus();
  }
  if (type == "ByteLevel") {
    const absl::StatusOr<bool> use_regex = JsonBool(step, "use_regex", true, where);
    if (!use_regex.ok()) return use_regex.status();
    const absl::StatusOr<bool> prefix = JsonBool(step, "add_prefix_space", true, where);
    if (!prefix.ok()) return prefix.status();
    if (*prefix && !spec.splits.empty())
      return Unsupported("ByteLevel with add_prefix_space after another split");
    spec.model.alphabet = Alphabet::kBytes;
    spec.add_prefix_space = *prefix;
    if (*use_regex) spec.splits.push_back({std::string(kGpt2Pattern)});
    return absl::OkStatus();
  }
  if (type == "Metaspace") {
    if (!spec.splits.empty() || spec.metaspace.has_value())
      return Unsupported("Metaspace after another split");
    absl::StatusOr<MetaspaceSpec> metaspace = ReadMetaspace(step, where);
    if (!metaspace.ok()) return metaspace.status();
    const absl::StatusOr<bool> split = JsonBool(step, "split", true, where);
    if (!split.ok()) return split.status();
    spec.space_mark = metaspace->mark;
    if (*split) spec.splits.push_back({metaspace->mark, true, SplitBehavior::kMergedWithNext});
    spec.metaspace = *std::move(metaspace);
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
    const absl::StatusOr<MetaspaceSpec> metaspace = ReadMetaspace(step, where);
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
  if (!status.ok()) return status;
  return ForEachStep(decoder, "decoders", "decoder", [&](const json& step, const std::string& type) {
    return ReadDecoderStep(step, type, spec);
  });
}

}  // namespace memgate
