// What a client may ask of the form of an answer.
#ifndef MEMGATE_ENGINE_STRUCTURED_OUTPUT_FORMAT_H_
#define MEMGATE_ENGINE_STRUCTURED_OUTPUT_FORMAT_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/structured/compile_budget.h"
#include "engine/structured/grammar.h"

namespace memgate {

struct OutputFormat {
  enum class Kind { kJsonObject, kJsonSchema, kGrammar };
  Kind kind = Kind::kJsonObject;
  std::string text;  // the schema (json_schema.h) or the grammar (gbnf.h)

  bool operator==(const OutputFormat&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const OutputFormat& format) {
    return H::combine(std::move(h), format.kind, format.text);
  }
};

// INVALID_ARGUMENT as of CompileJsonSchema and ParseGbnf.
absl::StatusOr<Grammar> CompileOutputFormat(const OutputFormat& format);

// The most that CompileOutputFormat holds while it runs, its result included. Unit: bytes.
inline int64_t CompileBytes(const OutputFormat& format) {
  constexpr int64_t kParsedBytesPerByte = 48;  // JSON such as [[],[],...]
  return CompileBudget::kMaxBytes + kParsedBytesPerByte * static_cast<int64_t>(format.text.size());
}

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_OUTPUT_FORMAT_H_
