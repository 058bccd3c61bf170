// The architectures that can be served: what each of them reads from its config.json, and what its GGUF files
// call it.
#ifndef MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_ARCHITECTURE_H_
#define MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_ARCHITECTURE_H_

#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "engine/checkpoint/architectures/gguf_names.h"
#include "engine/checkpoint/config_reader.h"
#include "engine/checkpoint/model_config.h"

namespace memgate {

// What tensors are called: ModelConfig::tensor_prefix and head_tensor.
struct TensorNames {
  std::string_view prefix;
  std::string_view head;
};
inline constexpr TensorNames kPlainNames[] = {{"model.", "lm_head"}};

// One file of this folder each.
struct Architecture {
  std::string_view name;  // as config.json names it under "architectures"
  // Fills everything but config.architecture; what is wrong, or not supported, is left in the reader.
  void (*read)(ConfigReader& reader, ModelConfig& config);
  // Null if GGUF files do not have it, or have it under the name of another one.
  const GgufArchitecture* gguf = nullptr;
  // Names that files of the architecture have, the usual ones first.
  absl::Span<const TensorNames> tensor_names = kPlainNames;
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

// Sets the names of tensors: the first of the architecture's whose embedding `has_tensor`, or its usual ones.
void NameTensors(const Architecture& architecture, absl::FunctionRef<bool(const std::string&)> has_tensor,
                 ModelConfig& config);

// All of them.
absl::Span<const Architecture* const> ArchitectureTable();

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_ARCHITECTURE_H_
