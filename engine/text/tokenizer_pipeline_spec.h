// The normalizer, pre_tokenizer and decoder of a tokenizer.json.
#ifndef MEMGATE_ENGINE_TEXT_TOKENIZER_PIPELINE_SPEC_H_
#define MEMGATE_ENGINE_TEXT_TOKENIZER_PIPELINE_SPEC_H_

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "engine/text/tokenizer_spec.h"

namespace memgate {

// Fills spec.normalizer, pre_tokenizer, space_mark, strips_leading_space, model.alphabet and
// model.byte_fallback.
absl::Status ReadPipeline(const nlohmann::json& root, TokenizerSpec& spec);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKENIZER_PIPELINE_SPEC_H_
