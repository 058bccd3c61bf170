// The architectures that can be served: what each of them reads from its config.json, and what its GGUF files
// call it.
#ifndef MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_ARCHITECTURE_H_
#define MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_ARCHITECTURE_H_

#include <string_view>

#include "absl/types/span.h"
#include "engine/checkpoint/architectures/gguf_names.h"
#include "engine/checkpoint/config_reader.h"
#include "engine/checkpoint/model_config.h"

namespace memgate {

// One file of this folder each.
struct Architecture {
  std::string_view name;  // as config.json names it under "architectures"
  // Fills everything but config.architecture; what is wrong, or not supported, is left in the reader.
  void (*read)(ConfigReader& reader, ModelConfig& config);
  // Null if GGUF files do not have it, or have it under the name of another one.
  const GgufArchitecture* gguf = nullptr;
};

extern const Architecture kGemma2;
extern const Architecture kGemma3;
extern const Architecture kGemma3Conditional;
extern const Architecture kLlama;
extern const Architecture kMistral;
extern const Architecture kPhi3;
extern const Architecture kQwen2;
extern const Architecture kQwen3;
extern const Architecture kSmolLm3;

// All of them.
absl::Span<const Architecture* const> ArchitectureTable();

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_ARCHITECTURE_H_
