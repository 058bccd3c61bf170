// Reads GenerateRequest and CountTokensRequest: checks every field against the limits of inference.proto,
// renders chats and turns text into tokens.
#ifndef MEMGATE_SERVER_GENERATE_REQUEST_H_
#define MEMGATE_SERVER_GENERATE_REQUEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "memgate/v1/inference.pb.h"
#include "memgate/v1/types.pb.h"
#include "server/chat_continuation.h"

namespace memgate {

// Whether a conversation holds tokens already.
enum class ConversationState { kEmpty, kStarted };

// The server's.
struct GenerateLimits {
  int64_t max_tokens = 4096;
  int64_t max_format_bytes = int64_t{256} << 10;
};

// Everything but input, lease and constraint. `random_seed` is used where the request has none. Errors are
// INVALID_ARGUMENT "field: what is wrong". Checks the form of the input and the size of the response format
// too, so that nothing needs a session to be refused.
absl::StatusOr<TurnRequest> ReadGenerateRequest(const v1::GenerateRequest& request, const ModelInfo& model,
                                                const GenerateLimits& limits, uint64_t random_seed);

// What the request's response format asks of the answer; null without one. INVALID_ARGUMENT names the field
// and what is wrong with the schema or grammar. REQUIRES: ReadGenerateRequest accepts it.
absl::StatusOr<std::shared_ptr<TokenConstraint>> ReadConstraint(const v1::GenerateRequest& request,
                                                                Engine& engine);

// The tokens of the request's input, as they follow a conversation in `state`; of a chat those of the whole
// one, `earlier` and `messages`. INVALID_ARGUMENT if there is nothing to answer; FAILED_PRECONDITION
// (NO_CHAT_TEMPLATE) for a chat on a model without template.
absl::StatusOr<std::vector<TokenId>> EncodeInput(const v1::GenerateRequest& request, const Engine& engine,
                                                 ConversationState state);
absl::StatusOr<std::vector<TokenId>> EncodeInput(const v1::CountTokensRequest& request, const Engine& engine);

// The same for a chat in a session; see chat_continuation.h. FAILED_PRECONDITION (PREFIX_CHANGED,
// PREFIX_UNCHECKED) if the session may hold something else than would be rendered, and must not.
absl::StatusOr<ChatInput> EncodeChatInput(const v1::ChatMessages& chat, const Engine& engine,
                                          const SessionLease& lease);

// The tokens of what a chat template rendered: exactly those that it writes. Where it writes no begin token,
// none is put before it, as Hugging Face's libraries do and models are trained. Errors as of
// Tokenizer::Encode.
absl::StatusOr<std::vector<TokenId>> EncodeRenderedChat(const std::string& text, const Engine& engine,
                                                        ConversationState state);

// What a template is given for messages of the API, and beside them.
std::vector<ChatTurn> ToTurns(const google::protobuf::RepeatedPtrField<v1::ChatMessage>& messages);
ChatVariables ToVariables(const v1::ChatMessages& chat);

// INVALID_ARGUMENT names the first id outside the vocabulary.
absl::Status CheckTokenIds(const v1::TokenIds& tokens, int vocabulary_size);

}  // namespace memgate

#endif  // MEMGATE_SERVER_GENERATE_REQUEST_H_
