// JSON schemas -> grammars.
#ifndef MEMGATE_ENGINE_STRUCTURED_JSON_SCHEMA_H_
#define MEMGATE_ENGINE_STRUCTURED_JSON_SCHEMA_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/structured/grammar.h"

namespace memgate {

// Texts that are JSON documents and valid against `schema` (draft 2020-12, and what earlier drafts wrote
// otherwise where the two cannot be confused). Which keywords there are and which documents are chosen among
// the valid ones is in docs/api.md ("Structured output"): properties come in the order of the schema, white
// space is limited, numbers have limited digits. oneOf is read as anyOf.
//
// INVALID_ARGUMENT "POINTER: why", the JSON pointer of the place, for what is no schema, for keywords that
// cannot be enforced, and for schemas that need more than the limits of SchemaDocument, GrammarBuilder and
// CompileBudget; INVALID_ARGUMENT without a pointer if no document is valid.
absl::StatusOr<Grammar> CompileJsonSchema(std::string_view schema);

// Any JSON object.
absl::StatusOr<Grammar> CompileJsonObject();

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_JSON_SCHEMA_H_
