// What a tokenizer.json and a tokenizer_config.json say, checked and without JSON.
#ifndef MEMGATE_ENGINE_TEXT_TOKENIZER_SPEC_H_
#define MEMGATE_ENGINE_TEXT_TOKENIZER_SPEC_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/added_tokens.h"
#include "engine/text/bpe_model.h"
#include "engine/text/text_normalizer.h"
#include "engine/text/text_splitter.h"

namespace memgate {

// When a space mark is put before a text that does not start with one.
enum class PrependScheme { kNever, kFirst, kAlways };  // kFirst: only at the very start

struct MetaspaceSpec {
  std::string mark;  // what stands for a space
  PrependScheme prepend = PrependScheme::kNever;
};

struct SplitRule {
  std::string pattern;
  bool is_literal = false;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};

struct TokenizerSpec {
  BpeSpec bpe;
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerRule> normalizer;
  std::optional<MetaspaceSpec> metaspace;  // applied before `splits`
  bool add_prefix_space = false;  // byte-level: a space before a segment that does not start with one
  std::vector<SplitRule> splits;
  std::string space_mark = "\xE2\x96\x81";  // kCharacters: what the decoder turns into a space
  bool strips_leading_space = false;
  std::vector<TokenId> begin_ids;  // put before a text that starts a conversation
  // From tokenizer_config.json.
  std::optional<TokenId> bos_id;
  std::optional<TokenId> eos_id;
  std::string chat_template;
};

// INVALID_ARGUMENT names what is malformed, UNIMPLEMENTED the feature that is not supported. `config_json`
// may be empty. Truncation and padding settings are ignored: nothing is cut or padded in silence.
absl::StatusOr<TokenizerSpec> ParseTokenizerSpec(std::string_view tokenizer_json,
                                                 std::string_view config_json);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKENIZER_SPEC_H_
