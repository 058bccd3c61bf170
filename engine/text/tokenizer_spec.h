// What a tokenizer is, whatever file it comes from: checked, and without the file's own form.
#ifndef MEMGATE_ENGINE_TEXT_TOKENIZER_SPEC_H_
#define MEMGATE_ENGINE_TEXT_TOKENIZER_SPEC_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "engine/text/added_tokens.h"
#include "engine/text/text_normalizer.h"
#include "engine/text/text_splitter.h"
#include "engine/text/token_model.h"

namespace memgate {

// When a space mark is put before a piece that does not start with one.
enum class PrependScheme { kNever, kFirst, kAlways };  // kFirst: only at the very start

// Steps of the pre-tokeniser, each applied to every piece that the steps before it left.
struct SplitRule {
  std::string pattern;
  bool is_literal = false;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};
struct MetaspaceRule {
  std::string mark;  // what is written for a space
  PrependScheme prepend = PrependScheme::kNever;
};
struct PrefixSpaceRule {};  // a space before a piece that does not start with one
using PreTokenizerRule = std::variant<SplitRule, MetaspaceRule, PrefixSpaceRule>;

struct TokenizerSpec {
  ModelSpec model;
  std::vector<AddedToken> added_tokens;
  absl::flat_hash_set<TokenId> special;  // ids of those added tokens that are no text
  std::vector<NormalizerRule> normalizer;
  std::vector<PreTokenizerRule> pre_tokenizer;
  std::string space_mark{kSpaceMark};  // kCharacters: what the decoder turns into a space
  bool strips_leading_space = false;
  std::vector<TokenId> begin_ids;  // put before a text that starts a conversation
  std::optional<TokenId> bos_id;
  std::optional<TokenId> eos_id;
  std::vector<TokenId> end_ids;  // what may end an answer: eos_id, and ends of turns; each once
  std::map<std::string, std::string> chat_templates;  // sources by name
};

// Whether published models call a token so that ends an answer, such as "<|im_end|>".
bool IsEndOfTurn(std::string_view content);

// Once, however often it is added.
void AddEndId(TokenId id, TokenizerSpec& spec);

// For readers of all files, once added_tokens, bos_id and the end_ids that the file names are known. Adds to
// end_ids the added tokens that end a turn by their name; "</s>", which is HTML, too, only where the file
// says that it is special. A token that begins a text or ends an answer must not be something that a client
// can write into plain text: fills `special`, adds these ids to model.not_text, and to added_tokens where the
// file has them among its pieces only.
void MarkSpecialTokens(TokenizerSpec& spec);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKENIZER_SPEC_H_
