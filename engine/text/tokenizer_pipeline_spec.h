// The normalizer, pre_tokenizer and decoder of a tokenizer.json.
#ifndef MEMGATE_ENGINE_TEXT_TOKENIZER_PIPELINE_SPEC_H_
#define MEMGATE_ENGINE_TEXT_TOKENIZER_PIPELINE_SPEC_H_

#include <nlohmann/json_fwd.hpp>

#include "absl/status/status.h"
#include "engine/text/tokenizer_spec.h"

namespace memgate {

// Fills spec.normalizer, metaspace, add_prefix_space, splits, space_mark, strips_leading_space and
// model.alphabet.
absl::Status ReadPipeline(const nlohmann::json& root, TokenizerSpec& spec);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKENIZER_PIPELINE_SPEC_H_
