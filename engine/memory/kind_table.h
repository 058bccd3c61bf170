// Every memory kind there is. The one list: a new kind is a file pair in this folder and a line here.
#ifndef MEMGATE_ENGINE_MEMORY_KIND_TABLE_H_
#define MEMGATE_ENGINE_MEMORY_KIND_TABLE_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/memory/module_reading.h"

namespace memgate {

struct MemoryKindRow {
  std::string_view name;
  // Makes the kind and its variants from a module of this name; null for kinds without weights. Errors name
  // the tensor or key that does not fit.
  absl::StatusOr<MemoryKinds> (*load)(const ModuleContents& module);
  // The kind as it works without trained weights; null if it does not.
  std::unique_ptr<MemoryKind> (*untrained)(const ModelConfig& config);
  // Keys of memory.json that `load` reads as options.
  absl::Span<const std::string_view> options = {};
};

// In the order in which a server lists them; `window` first.
absl::Span<const MemoryKindRow> MemoryKindTable();

// Null if there is none.
const MemoryKindRow* FindMemoryKind(std::string_view name);

// The names that modules can have, for messages: "memgate, infini, ...".
std::string LoadableKindNames();

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_KIND_TABLE_H_
