// Options of the commands that send chat messages.
#ifndef MEMGATE_CLIENT_COMMANDS_CHAT_OPTIONS_H_
#define MEMGATE_CLIENT_COMMANDS_CHAT_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/commands/command.h"
#include "memgate/v1/inference.pb.h"

namespace memgate {

// What the model's chat template reads beside the messages: --tools, --template-argument.
std::vector<OptionSpec> TemplateOptions();
// What becomes of a session that holds another conversation than the template renders:
// --on-changed-prefix, --earlier.
std::vector<OptionSpec> PrefixOptions();

// The lists one behind the other.
std::vector<OptionSpec> Joined(const std::vector<std::vector<OptionSpec>>& lists);

// The name of the first of the options that is given; nothing if none is.
std::optional<std::string> FirstGiven(const Arguments& arguments, const std::vector<OptionSpec>& options);

// Reads those options of both kinds that are given into `chat`. Usage errors name the option; NOT_FOUND a
// file that cannot be read.
absl::Status ReadChatOptions(const Invocation& invocation, v1::ChatMessages* chat);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_CHAT_OPTIONS_H_
