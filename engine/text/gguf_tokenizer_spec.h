// Reads the vocabulary of a GGUF file into a TokenizerSpec.
#ifndef MEMGATE_ENGINE_TEXT_GGUF_TOKENIZER_SPEC_H_
#define MEMGATE_ENGINE_TEXT_GGUF_TOKENIZER_SPEC_H_

#include "absl/status/statusor.h"
#include "engine/text/gguf_vocabulary.h"
#include "engine/text/tokenizer_spec.h"

namespace memgate {

// Errors as of Tokenizer::FromGguf; they name the metadata key.
absl::StatusOr<TokenizerSpec> GgufTokenizerSpec(const GgufVocabulary& vocabulary);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_GGUF_TOKENIZER_SPEC_H_
