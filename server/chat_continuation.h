// The next turn of a chat whose earlier turns a session holds.
#ifndef MEMGATE_SERVER_CHAT_CONTINUATION_H_
#define MEMGATE_SERVER_CHAT_CONTINUATION_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/scheduling/session.h"
#include "memgate/v1/inference.pb.h"
#include "memgate/v1/types.pb.h"

namespace memgate {

struct ChatContinuation {
  std::string text;  // to be taken in behind what the session holds
  v1::ChatPrefix prefix = v1::CHAT_PREFIX_UNCHECKED;
};

// A session keeps no messages. What its template puts between an answer and the next message is found out
// with a conversation that stands in for the earlier ones: one message of a user, the latest answer, the new
// messages. The text behind the answer is what is to be taken in, without the end token that the session
// holds already. The prefix continues if that rendering begins with the prompt that the answer followed, and
// the answer as it is; templates that strip reasoning, blanks, or what their generation prompt adds, change
// it. So does an answer that spells a special token: rendered again, it would be that token. A template that
// refuses this conversation leaves the prefix unchecked.
//
// A session that does not end with an answer to a chat gets the new messages as the template renders them by
// themselves. Errors as of Engine::RenderChat. REQUIRES: the session holds tokens.
absl::StatusOr<ChatContinuation> ContinueChat(const v1::ChatMessages& chat, const Engine& engine,
                                              const ChatTail& tail);

}  // namespace memgate

#endif  // MEMGATE_SERVER_CHAT_CONTINUATION_H_
