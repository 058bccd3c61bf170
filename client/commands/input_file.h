// Files that options name.
#ifndef MEMGATE_CLIENT_COMMANDS_INPUT_FILE_H_
#define MEMGATE_CLIENT_COMMANDS_INPUT_FILE_H_

#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/commands/command.h"

namespace memgate {

// The text of the file that `option` names; - is standard input. NOT_FOUND names option and file.
absl::StatusOr<std::string> ReadInputFile(const Invocation& invocation, const char* option);

// Standard input can be read once only: a usage error if two of the options name it.
absl::Status CheckStandardInput(const Arguments& arguments, std::initializer_list<const char*> options);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_INPUT_FILE_H_
