#include "client/commands/chat_options.h"
#include "client/commands/command.h"
#include "client/commands/connection.h"
#include "client/commands/text.h"
#include "client/message_json.h"
#include "client/utf8.h"

namespace memgate {
namespace {

absl::Status RunCount(const Invocation& invocation) {
  const auto text = invocation.Positional("text (quote it if it has blanks)");
  if (!text.ok()) return text.status();
  if (const absl::Status status = CheckUtf8("the text", *text); !status.ok()) {
    return UsageError(status.message());
  }
  v1::CountTokensRequest request;
  if (invocation.arguments.Has("chat") || HasAny(invocation.arguments, TemplateOptions())) {
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

Command CountCommand() {
  Command command = {"count",
                     "TEXT",
                     "Count the tokens of a text",
                     {{"chat", "", "as a chat message of the user; so do the other two"}},
                     RunCount};
  for (const OptionSpec& option : TemplateOptions()) command.options.push_back(option);
  return command;
}

}  // namespace memgate
