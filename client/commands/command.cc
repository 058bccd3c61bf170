#include "client/commands/command.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/commands/connection.h"
#include "client/commands/text.h"
#include "client/message_json.h"
#include "client/rpc_status.h"

namespace memgate {
namespace {

using nlohmann::ordered_json;

absl::Status RunVersion(const Invocation& invocation) {
  if (absl::Status status = invocation.NoPositionals(); !status.ok()) return status;
  if (invocation.json) {
    invocation.PrintJson({{"version", MEMGATE_VERSION}});
  } else {
    invocation.terminal.out << "memgate " << MEMGATE_VERSION << "\n";
  }
  return absl::OkStatus();
}

std::string OptionHelp(const std::vector<OptionSpec>& options) {
  std::string help;
  for (const OptionSpec& option : options) {
    const std::string left = absl::StrCat("  --", option.name, option.value.empty() ? "" : " ", option.value);
    absl::StrAppend(&help, Padded(left, 32), " ", option.help, "\n");
  }
  return help;
}

std::string Overview() {
  std::string text =
      "Usage: memgate COMMAND [OPTIONS] [ARGUMENTS]\n\n"
      "Talks to a memgate server: a language model with a bounded memory per session.\n\nCommands:\n";
  for (const Command& command : Commands()) {
    absl::StrAppend(&text, "  ", Padded(command.name, 16), " ", command.summary, "\n");
  }
  return absl::StrCat(text, "  ", Padded("help [COMMAND]", 16), " show this text or a command's options\n",
                      "\nOptions of every command:\n", OptionHelp(CommonOptions()),
                      "\nExit codes: 0 done, 1 failed, 2 wrong usage.\n");
}

std::string CommandHelp(const Command& command) {
  return absl::StrCat("Usage: memgate ", command.name, " [OPTIONS]", command.arguments.empty() ? "" : " ",
                      command.arguments, "\n\n", command.summary, ".\n",
                      command.options.empty() ? "" : "\nOptions:\n", OptionHelp(command.options),
                      "\nOptions of every command:\n", OptionHelp(CommonOptions()));
}

// The command that the first one or two of `words` name, and how many of them; null if none.
std::pair<const Command*, size_t> FindCommand(const std::vector<std::string>& words) {
  for (size_t count : {size_t{2}, size_t{1}}) {
    if (words.size() < count) continue;
    const std::string name = absl::StrJoin(words.begin(), words.begin() + count, " ");
    for (const Command& command : Commands()) {
      if (command.name == name) return {&command, count};
    }
  }
  return {nullptr, 0};
}

// Whether `words` name a group of commands, such as "sessions", and none of the group.
bool NamesGroupOnly(const std::vector<std::string>& words) {
  const bool ends = words.size() == 1 || absl::StartsWith(words[1], "--");
  return ends && std::any_of(Commands().begin(), Commands().end(), [&](const Command& command) {
           return absl::StartsWith(command.name, absl::StrCat(words[0], " "));
         });
}

std::string GroupHelp(const std::string& group) {
  std::string text = absl::StrCat("Usage: memgate ", group, " COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n");
  for (const Command& command : Commands()) {
    if (!absl::StartsWith(command.name, absl::StrCat(group, " "))) continue;
    absl::StrAppend(&text, "  ", Padded(command.name, 16), " ", command.summary, "\n");
  }
  return absl::StrCat(text, "\nmemgate help ", group, " COMMAND shows a command's options.\n");
}

absl::Status UnknownCommand(const std::vector<std::string>& words) {
  std::vector<std::string> names = {"help"};
  std::vector<std::string> subcommands;
  for (const Command& command : Commands()) {
    const std::vector<std::string> parts = absl::StrSplit(command.name, ' ');
    names.push_back(parts[0]);
    if (parts.size() == 2 && parts[0] == words[0]) subcommands.push_back(parts[1]);
  }
  if (!subcommands.empty()) {
    const std::string known =
        absl::StrCat("memgate ", words[0], " takes one of: ", absl::StrJoin(subcommands, ", "));
    if (NamesGroupOnly(words)) return UsageError(known);
    return UsageError(absl::StrCat("unknown command \"", words[0], " ", words[1], "\"; ", known));
  }
  const std::string closest = ClosestWord(words[0], names);
  return UsageError(
      absl::StrCat("unknown command \"", words[0], "\"",
                   closest.empty() ? "; see memgate help" : absl::StrCat("; did you mean ", closest, "?")));
}

// "--json sessions list" -> "sessions list --json": common options may stand before the command, too.
std::vector<std::string> CommandFirst(const std::vector<std::string>& words) {
  size_t leading = 0;
  while (leading < words.size()) {
    const std::string name = words[leading].substr(0, words[leading].find('='));
    const OptionSpec* option = nullptr;
    for (const OptionSpec& common : CommonOptions()) {
      if (name == absl::StrCat("--", common.name) && common.name != "help") option = &common;
    }
    if (option == nullptr) break;
    leading += option->value.empty() || name != words[leading] ? 1 : 2;
  }
  leading = std::min(leading, words.size());
  std::vector<std::string> ordered(words.begin() + leading, words.end());
  // What follows "--" is not an option any more.
  const auto end = std::find(ordered.begin(), ordered.end(), "--");
  ordered.insert(end, words.begin(), words.begin() + leading);
  return ordered;
}

absl::Status Run(const std::vector<std::string>& given, const Terminal& terminal) {
  const std::vector<std::string> words = CommandFirst(given);
  const bool wants_help = !words.empty() && (words[0] == "help" || words[0] == "--help");
  if (words.empty() || (wants_help && words.size() == 1)) {
    terminal.out << Overview();
    return absl::OkStatus();
  }
  const std::vector<std::string> named =
      words[0] == "--version" ? std::vector<std::string>{"version"}
                              : std::vector<std::string>(words.begin() + (wants_help ? 1 : 0), words.end());
  const auto [command, name_words] = FindCommand(named);
  const bool asks_for_help = wants_help || std::find(named.begin(), named.end(), "--help") != named.end();
  if (command == nullptr && asks_for_help && NamesGroupOnly(named)) {
    terminal.out << GroupHelp(named[0]);
    return absl::OkStatus();
  }
  if (command == nullptr) return UnknownCommand(named);

  std::vector<OptionSpec> specs = command->options;
  specs.insert(specs.end(), CommonOptions().begin(), CommonOptions().end());
  const auto arguments = ParseArguments(specs, {named.begin() + name_words, named.end()});
  if (!arguments.ok()) {
    return UsageError(absl::StrCat(arguments.status().message(), "; see memgate help ", command->name));
  }
  if (wants_help || arguments->Has("help")) {
    terminal.out << CommandHelp(*command);
    return absl::OkStatus();
  }
  return command->run({.arguments = *arguments, .terminal = terminal, .json = arguments->Has("json")});
}

ordered_json ErrorJson(const absl::Status& status) {
  ordered_json error = {{"code", absl::StatusCodeToString(status.code())},
                        {"reason", ErrorReason(status)},
                        {"message", std::string(status.message())}};
  if (RetryDelay(status) > absl::ZeroDuration()) {
    error["retry_after_ms"] = absl::ToInt64Milliseconds(RetryDelay(status));
  }
  return {{"error", error}};
}

}  // namespace

void Invocation::PrintJson(const ordered_json& value) const {
  terminal.out << Dump(value) << "\n" << std::flush;
}

absl::StatusOr<std::string> Invocation::Positional(absl::string_view what) const {
  if (arguments.positional().size() == 1) return arguments.positional()[0];
  return UsageError(absl::StrCat("give exactly one ", what));
}

absl::Status Invocation::NoPositionals() const {
  if (arguments.positional().empty()) return absl::OkStatus();
  return UsageError(absl::StrCat("unexpected argument \"", arguments.positional()[0], "\""));
}

const std::vector<Command>& Commands() {
  static const auto* const kCommands = [] {
    auto* commands = new std::vector<Command>{ChatCommand(), GenerateCommand(), IngestCommand()};
    for (Command& command : SessionCommands()) commands->push_back(std::move(command));
    commands->push_back(ModelsCommand());
    commands->push_back(CountCommand());
    commands->push_back(InspectCommand());
    commands->push_back({"version", "", "Show the version of this program", {}, RunVersion});
    return commands;
  }();
  return *kCommands;
}

int RunCommandLine(const std::vector<std::string>& words, const Terminal& terminal) {
  const absl::Status status = Run(words, terminal);
  terminal.out.flush();
  if (status.ok()) return kExitOk;
  if (std::find(words.begin(), words.end(), "--json") != words.end()) {
    terminal.out << Dump(ErrorJson(status)) << "\n" << std::flush;
  } else {
    terminal.err << terminal.OnErr(Style::kBad, "error: ") << status.message() << "\n";
    // Only the transport reports UNAVAILABLE without a reason.
    if (absl::IsUnavailable(status) && ErrorReason(status).empty()) {
      terminal.err << "Is the server running, and is --address (or MEMGATE_ADDRESS) right?\n";
    }
  }
  return IsUsageError(status) ? kExitUsage : kExitFailed;
}

}  // namespace memgate
