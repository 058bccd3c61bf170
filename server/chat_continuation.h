// Turns of a chat whose earlier turns a session holds.
#ifndef MEMGATE_SERVER_CHAT_CONTINUATION_H_
#define MEMGATE_SERVER_CHAT_CONTINUATION_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/session/chat_tail.h"
#include "memgate/v1/inference.pb.h"
#include "memgate/v1/types.pb.h"

namespace memgate {

// What a turn adds to its session; the fields of TurnRequest that follow from a chat.
struct ChatInput {
  std::vector<TokenId> tokens;
  v1::ChatPrefix prefix = v1::CHAT_PREFIX_UNSPECIFIED;
  bool rebuilds = false;
  bool replaces_end = false;
  ChatTail tail;  // but for the answer
};

// What a session is to know of a chat that begins in it with `earlier` and `messages`.
ChatTail BeginChat(const v1::ChatMessages& chat, const Engine& engine);

// The next turn. A session keeps no messages but the system message that its chat began with, and no answer
// but the latest. What its template puts between an answer and the next message is found out with a
// conversation that stands in for the one that the session holds: that system message, a message of a user,
// the answer, the new messages. What is rendered behind the answer is taken in, in the tokens that it has
// there; it says how the answer ends, so the end token that the model wrote is dropped.
//
// The prefix CONTINUES if the tokens of that rendering begin with those of the prompt that the answer
// followed and the answer's own, and if the same held for all turns before: then the session holds the tokens
// of the whole conversation. It is SAME_TEXT if only the texts are equal. It is CHANGED if the template
// renders the answer otherwise (templates strip reasoning, blanks, or what their generation prompt adds), or
// an older message, or the beginning (other tools, another date), or if the answer spells a special token
// that it would become. It is UNCHECKED where the answer is not known or a client cannot send it back, where
// the session ends with something else, and where the template refuses the conversation that stands in.
//
// A session that does not end with an answer gets the new messages as the template renders them by
// themselves; the first ones in it begin a chat, if the client knows of no `earlier` ones. Errors as of
// Engine::RenderChat and EncodeRenderedChat. REQUIRES: the session holds tokens.
absl::StatusOr<ChatInput> ContinueChat(const v1::ChatMessages& chat, const Engine& engine,
                                       const ChatTail& held);

}  // namespace memgate

#endif  // MEMGATE_SERVER_CHAT_CONTINUATION_H_
