#include "client/commands/chat_options.h"
#include "client/commands/command.h"
#include "client/commands/connection.h"
#include "client/commands/text.h"
#include "client/message_json.h"
#include "client/utf8.h"

namespace memgate {
namespace {

// What makes a chat message of the text.
std::vector<OptionSpec> MessageOptions() {
  return Joined({{{"chat", "", "as a chat message of the user; so do the other two"}}, TemplateOptions()});
}

absl::Status RunCount(const Invocation& invocation) {
  const auto text = invocation.Positional("text (quote it if it has blanks)");
  if (!text.ok()) return text.status();
  if (const absl::Status status = CheckUtf8("the text", *text); !status.ok()) {
    return UsageError(status.message());
  }
  v1::CountTokensRequest request;
  if (FirstGiven(invocation.arguments, MessageOptions())) {
    v1::ChatMessage* message = request.mutable_chat()->add_messages();
    message->set_role("user");
    message->set_content(*text);
    if (const auto s = ReadChatOptions(invocation, request.mutable_chat()); !s.ok()) return s;
  } else {
    request.set_prompt(*text);
  }
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  const auto count = (*client)->CountTokens(request);
  if (!count.ok()) return count.status();
  if (invocation.json) {
    invocation.PrintJson(ToJson(*count));
  } else {
    invocation.terminal.out << count->tokens() << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

Command CountCommand() { return {"count", "TEXT", "Count the tokens of a text", MessageOptions(), RunCount}; }

}  // namespace memgate
