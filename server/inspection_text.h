// An inspection as people and as programs read it (`memgate-server --inspect`).
#ifndef MEMGATE_SERVER_INSPECTION_TEXT_H_
#define MEMGATE_SERVER_INSPECTION_TEXT_H_

#include <string>

#include "engine/inspection.h"

namespace memgate {

// Several lines, the last one ended.
std::string InspectionText(const Inspection& inspection);

// One JSON object and a line feed; keys as in docs/operations.md, bytes as numbers.
std::string InspectionJson(const Inspection& inspection);

}  // namespace memgate

#endif  // MEMGATE_SERVER_INSPECTION_TEXT_H_
