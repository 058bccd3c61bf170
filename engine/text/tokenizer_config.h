// What tokenizer_config.json adds to a tokenizer.
#ifndef MEMGATE_ENGINE_TEXT_TOKENIZER_CONFIG_H_
#define MEMGATE_ENGINE_TEXT_TOKENIZER_CONFIG_H_

#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/token_table.h"
#include "engine/text/tokenizer_spec.h"

namespace memgate {

// The file as JSON; an empty object for no text. INVALID_ARGUMENT as of ParseJsonObject.
absl::StatusOr<nlohmann::json> ParseTokenizerConfig(std::string_view config_json);

// "added_tokens_decoder": ids with their tokens, in files whose model does not hold them. Those that the
// table has are taken to be read already.
absl::Status ReadAddedTokensDecoder(const nlohmann::json& config, TokenTable& table,
                                    std::vector<AddedToken>& tokens);

// Begin and end token, chat templates, and whether a text begins with the begin token: begin_ids is what
// another file says about it. INVALID_ARGUMENT names the key.
absl::Status ReadTokenizerConfig(const nlohmann::json& config, const TokenTable& table, TokenizerSpec& spec);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKENIZER_CONFIG_H_
