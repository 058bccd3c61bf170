// What a client may ask of the form of an answer.
#ifndef MEMGATE_ENGINE_STRUCTURED_OUTPUT_FORMAT_H_
#define MEMGATE_ENGINE_STRUCTURED_OUTPUT_FORMAT_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/structured/grammar.h"

namespace memgate {

struct OutputFormat {
  enum class Kind { kJsonObject, kJsonSchema, kGrammar };
  Kind kind = Kind::kJsonObject;
  std::string text;  // the schema (json_schema.h) or the grammar (gbnf.h)

  bool operator==(const OutputFormat&) const = default;
};

// INVALID_ARGUMENT as of CompileJsonSchema and ParseGbnf.
absl::StatusOr<Grammar> CompileOutputFormat(const OutputFormat& format);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_OUTPUT_FORMAT_H_
