// JSON that a client sends -> values that a chat template computes with.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_JSON_H_
#define MEMGATE_ENGINE_TEXT_JINJA_JSON_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/jinja_value.h"

namespace memgate::jinja {

// As Python's json.loads gives it to Jinja; members keep their order. INVALID_ARGUMENT "why" as of
// ParseOrderedJson, and for whole numbers of more than 64 bits.
absl::StatusOr<Value> ValueFromJson(std::string_view text);

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_JSON_H_
