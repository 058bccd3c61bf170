// Feeding text into a session, with a progress bar.
#ifndef MEMGATE_CLIENT_COMMANDS_INGEST_H_
#define MEMGATE_CLIENT_COMMANDS_INGEST_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/commands/terminal.h"
#include "client/memgate_client.h"

namespace memgate {

// `path` may be "-" for standard input. NOT_FOUND or FAILED_PRECONDITION if it cannot be read. The bar shows
// on a terminal only. What the session took in before a cancellation stays in it.
absl::StatusOr<v1::IngestProgress> IngestFile(Client& client, absl::string_view session,
                                              const std::string& path, const Terminal& terminal,
                                              Cancellation* cancellation, const IngestOptions& options = {});

absl::StatusOr<v1::IngestProgress> IngestText(Client& client, absl::string_view session,
                                              absl::string_view text, Cancellation* cancellation);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_INGEST_H_
