#include "engine/structured/output_format.h"

#include "engine/structured/gbnf.h"
#include "engine/structured/json_schema.h"

namespace memgate {

absl::StatusOr<Grammar> CompileOutputFormat(const OutputFormat& format) {
  switch (format.kind) {
    case OutputFormat::Kind::kJsonObject:
      return CompileJsonObject();
    case OutputFormat::Kind::kJsonSchema:
      return CompileJsonSchema(format.text);
    case OutputFormat::Kind::kGrammar:
      return ParseGbnf(format.text);
  }
  return absl::InternalError("no such output format");
}

}  // namespace memgate
