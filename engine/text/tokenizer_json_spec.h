// Reads tokenizer.json and tokenizer_config.json into a TokenizerSpec.
#ifndef MEMGATE_ENGINE_TEXT_TOKENIZER_JSON_SPEC_H_
#define MEMGATE_ENGINE_TEXT_TOKENIZER_JSON_SPEC_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer_spec.h"

namespace memgate {

// INVALID_ARGUMENT names what is malformed, UNIMPLEMENTED the feature that is not supported. `config_json`
// may be empty. Truncation and padding settings are ignored: nothing is cut or padded in silence.
absl::StatusOr<TokenizerSpec> TokenizerJsonSpec(std::string_view tokenizer_json,
                                                std::string_view config_json);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKENIZER_JSON_SPEC_H_
