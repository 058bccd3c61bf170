// A trained memory module: memory.json and memory.safetensors (docs/formats.md).
#ifndef MEMGATE_ENGINE_MEMORY_MODULE_H_
#define MEMGATE_ENGINE_MEMORY_MODULE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/module_base.h"
#include "engine/memory/module_reading.h"

namespace memgate {

struct MemoryModule {
  MemoryModuleConfig config;
  std::unique_ptr<MemoryKind> kind;
  MemoryKinds variants;     // of the kind, under names of their own; same geometry and weights
  std::string fingerprint;  // of its tensors, its kind, and the options that its kind reads
  BaseMatch base = BaseMatch::kUnnamed;
};

// INVALID_ARGUMENT names the key and what is wrong.
absl::StatusOr<MemoryModuleConfig> ParseMemoryModuleConfig(std::string_view json);

// Whether `folder` holds a module, readable or not.
bool IsMemoryModuleFolder(const std::string& folder);

// What the module in `folder` says of itself: its memory.json, or what its authors published, which leaves
// out dimensions; they are then those of `base`. Whether it fits `base` is not checked otherwise. Errors name
// the file.
absl::StatusOr<MemoryModuleConfig> ReadMemoryModuleConfig(const std::string& folder, const ModelConfig& base);

// Bytes that the weights of the module in `folder` take once loaded: all are held as f32. NOT_FOUND or
// INVALID_ARGUMENT if the file cannot be read.
absl::StatusOr<int64_t> MemoryModuleBytes(const std::string& folder);

// Loads `folder`. NOT_FOUND if it has no memory.json. FAILED_PRECONDITION if the module is one of other
// shapes, or of another model than the base's rule allows; the message has both fingerprints.
// INVALID_ARGUMENT describes the tensor (TensorSource::Describe) that is misshapen or holds a number that is
// not finite.
absl::StatusOr<MemoryModule> LoadMemoryModule(const std::string& folder, const ModuleBase& base);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_MODULE_H_
