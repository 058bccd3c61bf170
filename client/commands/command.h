// The commands of `memgate` and how a command line reaches them.
#ifndef MEMGATE_CLIENT_COMMANDS_COMMAND_H_
#define MEMGATE_CLIENT_COMMANDS_COMMAND_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/commands/arguments.h"
#include "client/commands/terminal.h"

namespace memgate {

enum ExitCode : int { kExitOk = 0, kExitFailed = 1, kExitUsage = 2 };

// What a command works with.
struct Invocation {
  const Arguments& arguments;
  const Terminal& terminal;
  bool json = false;  // --json: one object per result on `terminal.out`

  void PrintJson(const nlohmann::ordered_json& value) const;
  // The only positional argument. A usage error unless there is exactly one.
  absl::StatusOr<std::string> Positional(absl::string_view what) const;
  // A usage error if there is any.
  absl::Status NoPositionals() const;
};

struct Command {
  std::string name;       // one or two words, e.g. "sessions create"
  std::string arguments;  // positional ones, for the help text
  std::string summary;    // one line
  std::vector<OptionSpec> options;
  absl::Status (*run)(const Invocation&);
};

// All commands, in the order of the help text. Each comes from the file of its name.
const std::vector<Command>& Commands();

// Runs one command line, without the program's name, and returns the exit code. Errors are printed on
// `terminal.err`, with --json as {"error": ...} on `terminal.out`.
int RunCommandLine(const std::vector<std::string>& words, const Terminal& terminal);

Command ChatCommand();
Command GenerateCommand();
Command IngestCommand();
std::vector<Command> SessionCommands();
Command ModelsCommand();
Command CountCommand();
Command InspectCommand();

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_COMMAND_H_
