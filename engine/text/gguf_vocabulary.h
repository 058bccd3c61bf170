// The vocabulary of a GGUF file as its metadata spells it, without the file.
#ifndef MEMGATE_ENGINE_TEXT_GGUF_VOCABULARY_H_
#define MEMGATE_ENGINE_TEXT_GGUF_VOCABULARY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace memgate {

// Values of GgufVocabulary::types (tokenizer.ggml.token_type).
enum class GgufTokenType : int32_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,      // what text without a token becomes
  kControl = 3,      // "<s>", "<|im_end|>": found in a text only where special tokens are parsed
  kUserDefined = 4,  // found in a text before anything else
  kUnused = 5,
  kByte = 6,  // "<0x0A>": one byte of a character without a token
};

// Each field holds the value of the metadata key beside it; what a file lacks is empty. Whoever fills it
// checks that the values have these types; Tokenizer::FromGguf checks everything else, so nothing here need
// be consistent.
struct GgufVocabulary {
  std::string model;                             // tokenizer.ggml.model: "llama", "gpt2", "t5"
  std::string pre;                               // tokenizer.ggml.pre: name of the pre-tokeniser
  std::vector<std::string> tokens;               // tokenizer.ggml.tokens: piece of each id
  std::vector<float> scores;                     // tokenizer.ggml.scores: one per id, or none
  std::vector<int32_t> types;                    // tokenizer.ggml.token_type: a GgufTokenType per id, or none
  std::vector<std::string> merges;               // tokenizer.ggml.merges: "left right", best first
  std::optional<int32_t> bos_id;                 // tokenizer.ggml.bos_token_id
  std::optional<int32_t> eos_id;                 // tokenizer.ggml.eos_token_id
  std::optional<int32_t> eot_id;                 // tokenizer.ggml.eot_token_id: end of a turn
  std::optional<int32_t> unknown_id;             // tokenizer.ggml.unknown_token_id
  std::optional<int32_t> padding_id;             // tokenizer.ggml.padding_token_id
  std::optional<bool> add_bos;                   // tokenizer.ggml.add_bos_token
  std::optional<bool> add_eos;                   // tokenizer.ggml.add_eos_token
  std::optional<bool> add_space_prefix;          // tokenizer.ggml.add_space_prefix
  std::optional<bool> remove_extra_whitespaces;  // tokenizer.ggml.remove_extra_whitespaces
  std::string precompiled_charsmap;  // tokenizer.ggml.precompiled_charsmap: bytes, as SentencePiece writes it
  // By name: tokenizer.chat_template as "default", and every tokenizer.chat_template.NAME.
  std::map<std::string, std::string> chat_templates;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_GGUF_VOCABULARY_H_
