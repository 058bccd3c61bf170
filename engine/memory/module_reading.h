// What the loader of a memory kind reads from: memory.json, the base's shapes, the module's tensors.
#ifndef MEMGATE_ENGINE_MEMORY_MODULE_READING_H_
#define MEMGATE_ENGINE_MEMORY_MODULE_READING_H_

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/tensor.h"
#include "engine/memory/memory_kind.h"

namespace memgate {

// What memory.json says.
struct MemoryModuleConfig {
  std::string kind;              // a name of MemoryKindTable()
  std::string name;              // the module's own; empty = the kind's
  std::string base_fingerprint;  // of the model it was trained on; empty if the format has none
  std::string base_norms;        // NormsFingerprint of that model; empty if the module does not say
  int num_layers = 0;
  int hidden_size = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  // Geometry it was trained for. Unit: tokens.
  int32_t sink_tokens = 0;
  int32_t window_tokens = 0;
  int32_t segment_tokens = 0;
  int32_t salient_tokens = 0;
  // Further keys whose value is a string, for the kind's loader.
  std::map<std::string, std::string, std::less<>> options;

  std::string_view Option(std::string_view key, std::string_view fallback) const {
    const auto found = options.find(key);
    return found == options.end() ? fallback : std::string_view(found->second);
  }
};

// Borrowed for the call of a loader.
struct ModuleContents {
  const MemoryModuleConfig& config;
  const ModelConfig& base;
  const TensorSource& tensors;
};

// The module's kind, then its variants.
using MemoryKinds = std::vector<std::unique_ptr<MemoryKind>>;

// Where a kind's tensors lie: {prefix}{i}{infix}{name}, i the layer.
struct LayerTensors {
  const TensorSource& tensors;
  int num_layers = 0;
  std::string_view prefix = "layers.";
  std::string_view infix = ".";

  std::string Name(int layer, std::string_view name) const;
  // Whether any layer has a tensor whose name begins with `group`.
  bool HasAny(std::string_view group) const;
  // `name` of every layer, one after the other: [L, shape...]. NOT_FOUND or INVALID_ARGUMENT names the tensor
  // that is missing, misshapen or holds a number that is not finite.
  absl::StatusOr<std::vector<float>> Read(std::string_view name, absl::Span<const int64_t> shape) const;
};

// Reads tensors one after the other and remembers the first error, so that a loader is a plain list.
class LayerReader {
 public:
  explicit LayerReader(LayerTensors source) : source_(source) {}

  // As LayerTensors::Read; empty once something failed.
  std::vector<float> Read(std::string_view name, std::initializer_list<int64_t> shape);
  bool HasAny(std::string_view group) const { return source_.HasAny(group); }
  const absl::Status& status() const { return status_; }

 private:
  const LayerTensors source_;
  absl::Status status_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_MODULE_READING_H_
