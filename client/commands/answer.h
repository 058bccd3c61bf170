// An answer as people read it: the text as it arrives, then how it came about.
#ifndef MEMGATE_CLIENT_COMMANDS_ANSWER_H_
#define MEMGATE_CLIENT_COMMANDS_ANSWER_H_

#include "absl/status/status.h"
#include "client/commands/terminal.h"
#include "client/memgate_client.h"

namespace memgate {

// Streams the text to `terminal.out` and, after it, path and reason, how the tokens are held, bytes and speed
// to `terminal.err`. Text that arrived before an error stays printed.
absl::Status PrintAnswer(Client& client, const v1::GenerateRequest& request, const Terminal& terminal,
                         Cancellation* cancellation);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_ANSWER_H_
