// Turns SentencePiece's tokenizer.model and a tokenizer_config.json into a TokenizerSpec.
#ifndef MEMGATE_ENGINE_TEXT_SENTENCEPIECE_SPEC_H_
#define MEMGATE_ENGINE_TEXT_SENTENCEPIECE_SPEC_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer_spec.h"

namespace memgate {

// Models of types BPE and Unigram. INVALID_ARGUMENT says what is malformed, UNIMPLEMENTED what is not
// supported. `config_json` may be empty.
absl::StatusOr<TokenizerSpec> SentencePieceSpec(std::string_view model_file, std::string_view config_json);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_SENTENCEPIECE_SPEC_H_
