// The model that a memory module is loaded for, and the one that it was trained on.
#ifndef MEMGATE_ENGINE_MEMORY_MODULE_BASE_H_
#define MEMGATE_ENGINE_MEMORY_MODULE_BASE_H_

#include <string>
#include <string_view>

#include "engine/checkpoint/model_config.h"

namespace memgate {

// Which model a module that names its base may be loaded for.
enum class BaseRule {
  kSame,  // its base: the tensors are equal, or at least the norms
  kAny,   // every model of its base's shapes
};

// What is known of a loaded module's base.
enum class BaseMatch {
  kUnnamed,  // the module's format names none
  kTensors,  // it is the model, tensor by tensor
  // It has the model's norms: the same model in another format, as GGUF files are, or one that was tuned
  // without its norms.
  kNorms,
  kOther,  // it is another model, as far as the module says; BaseRule::kAny allows it
};

// As logs and inspections spell it: "unnamed", "same tensors", "same norms", "another model".
std::string_view BaseMatchName(BaseMatch match);

// Borrows.
struct ModuleBase {
  const ModelConfig& config;
  std::string_view fingerprint;  // Fingerprint (hugging_face.h) of its tensors
  std::string_view norms = {};   // NormsFingerprint (weights.h); empty = they tell it from no other model
  BaseRule rule = BaseRule::kSame;
};

// A module that was loaded.
struct MemoryModuleInfo {
  std::string folder;
  std::string kind;  // what sessions ask for
  BaseMatch base = BaseMatch::kUnnamed;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_MODULE_BASE_H_
