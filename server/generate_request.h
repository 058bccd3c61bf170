// Reads GenerateRequest and CountTokensRequest: checks every field against the limits of inference.proto,
// renders chats and turns text into tokens.
#ifndef MEMGATE_SERVER_GENERATE_REQUEST_H_
#define MEMGATE_SERVER_GENERATE_REQUEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "memgate/v1/inference.pb.h"

namespace memgate {

// Whether a conversation holds tokens already.
enum class ConversationState { kEmpty, kStarted };

// Everything but input and lease. `random_seed` is used where the request has none. Errors are
// INVALID_ARGUMENT "field: what is wrong". Checks the form of the input too, so that nothing needs a session
// to be refused.
absl::StatusOr<TurnRequest> ReadGenerateRequest(const v1::GenerateRequest& request, const ModelInfo& model,
                                                int64_t max_tokens_limit, uint64_t random_seed);

// The tokens of the request's input, as they follow a conversation in `state`. INVALID_ARGUMENT if there is
// nothing to answer; FAILED_PRECONDITION (NO_CHAT_TEMPLATE) for a chat on a model without template.
absl::StatusOr<std::vector<TokenId>> EncodeInput(const v1::GenerateRequest& request, const Engine& engine,
                                                 ConversationState state);
absl::StatusOr<std::vector<TokenId>> EncodeInput(const v1::CountTokensRequest& request, const Engine& engine);

// INVALID_ARGUMENT names the first id outside the vocabulary.
absl::Status CheckTokenIds(const v1::TokenIds& tokens, int vocabulary_size);

}  // namespace memgate

#endif  // MEMGATE_SERVER_GENERATE_REQUEST_H_
