// What a session's memory looks like, as people read it.
#ifndef MEMGATE_CLIENT_COMMANDS_SESSION_MEMORY_H_
#define MEMGATE_CLIENT_COMMANDS_SESSION_MEMORY_H_

#include <string>

#include "memgate/v1/session.pb.h"

namespace memgate {

// One row per layer and KV head: gates, memory norm, slots, positions and scores; columns that the session's
// kind has nothing for are left out.
std::string DescribeMemory(const v1::SessionMemory& memory);

// One line per layer and KV head with slots in use: their positions, runs of neighbours as "18-25".
std::string ListPositions(const v1::SessionMemory& memory);

// Where in the session the retained positions of all layers and KV heads lie: a bar of `columns` characters
// from its first to its last token, and a line under it. Empty if none is listed.
std::string PositionHistogram(const v1::SessionMemory& memory, int columns);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_SESSION_MEMORY_H_
