// The options that every command has, and the connection they describe.
#ifndef MEMGATE_CLIENT_COMMANDS_CONNECTION_H_
#define MEMGATE_CLIENT_COMMANDS_CONNECTION_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "client/commands/arguments.h"
#include "client/memgate_client.h"

namespace memgate {

// --address, --json and so on.
const std::vector<OptionSpec>& CommonOptions();

// Command line before environment (MEMGATE_ADDRESS, MEMGATE_API_KEY, MEMGATE_TLS_CA) before defaults. The API
// key itself is never an option: command lines are visible to other users of a machine.
absl::StatusOr<std::unique_ptr<Client>> Connect(const Arguments& arguments);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_CONNECTION_H_
