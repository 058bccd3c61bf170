// A trained memory module: memory.json and memory.safetensors (docs/formats.md).
#ifndef MEMGATE_ENGINE_MEMORY_MODULE_H_
#define MEMGATE_ENGINE_MEMORY_MODULE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/memory/memory_kind.h"

namespace memgate {

// What memory.json says.
struct MemoryModuleConfig {
  std::string kind;              // "memgate", "infini" or "infini-delta"
  std::string base_fingerprint;  // of the model it was trained on
  int num_layers = 0;
  int hidden_size = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  // Geometry it was trained for. Unit: tokens.
  int32_t sink_tokens = 0;
  int32_t window_tokens = 0;
  int32_t segment_tokens = 0;
  int32_t salient_tokens = 0;
};

struct MemoryModule {
  MemoryModuleConfig config;
  std::unique_ptr<MemoryKind> kind;
  std::string fingerprint;  // of the module's own tensors
};

// INVALID_ARGUMENT names the key and what is wrong.
absl::StatusOr<MemoryModuleConfig> ParseMemoryModuleConfig(std::string_view json);

// Loads `folder`. NOT_FOUND if it has no memory.json. FAILED_PRECONDITION, saying which, if fingerprint or
// shapes do not fit the base.
absl::StatusOr<MemoryModule> LoadMemoryModule(const std::string& folder, const ModelConfig& base,
                                              std::string_view base_fingerprint);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_MODULE_H_
