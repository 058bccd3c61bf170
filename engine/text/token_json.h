// Ids and added tokens as tokenizer.json and tokenizer_config.json spell them.
#ifndef MEMGATE_ENGINE_TEXT_TOKEN_JSON_H_
#define MEMGATE_ENGINE_TEXT_TOKEN_JSON_H_

#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/added_tokens.h"
#include "engine/text/tokenizer.h"

namespace memgate {

// An integer in [0, kMaxVocabSize). INVALID_ARGUMENT names `where`, the place in the file.
absl::StatusOr<TokenId> ReadTokenId(const nlohmann::json& value, std::string_view where);

// "content" with the flags of an added token; errors as above.
absl::StatusOr<AddedToken> ReadAddedToken(const nlohmann::json& entry, TokenId id, std::string_view where);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKEN_JSON_H_
