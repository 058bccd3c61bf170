// GGUF vocabularies for tests.
#ifndef MEMGATE_TESTS_TEXT_GGUF_VOCABULARIES_H_
#define MEMGATE_TESTS_TEXT_GGUF_VOCABULARIES_H_

#include <nlohmann/json.hpp>
#include <string>

#include "engine/text/gguf_vocabulary.h"

namespace memgate {

// What a converter makes of a tokenizer.json with a BPE model: "gpt2" with the pre-tokeniser `pre`, or, for a
// model with byte fallback, "llama" with scores instead of merges.
GgufVocabulary GgufVocabularyOf(const nlohmann::json& tokenizer_json, const std::string& pre);

// The vocabulary in a GGUF v3 file that is known to be well-formed.
GgufVocabulary ReadGgufVocabulary(const std::string& path);

}  // namespace memgate

#endif  // MEMGATE_TESTS_TEXT_GGUF_VOCABULARIES_H_
