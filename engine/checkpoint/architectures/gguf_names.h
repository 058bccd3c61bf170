// What GGUF files call the keys of config.json and the tensors of a Hugging Face folder.
#ifndef MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_GGUF_NAMES_H_
#define MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_GGUF_NAMES_H_

#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/types/span.h"

namespace memgate {

enum class GgufKeyType { kInt, kNumber };

struct GgufKeyName {
  std::string_view gguf;    // after "<architecture>."
  std::string_view config;  // key of config.json
  GgufKeyType type = GgufKeyType::kInt;
};

// How the rows of a matrix are stored: as Hugging Face has them, or those of each head pairwise
// (TensorView::paired_rows), for the other way of rotating.
enum class GgufRows { kInOrder, kPaired };

struct GgufTensorName {
  std::string_view gguf;  // of a layer: after "blk.<layer>."
  // Of a layer: after "model.layers.<layer>.". Empty: the architecture has none, though others do.
  std::string_view hugging_face;
  GgufRows rows = GgufRows::kInOrder;
};

// One architecture. Where a name is in its list and in the common one, its own counts.
struct GgufArchitecture {
  std::string_view name;                           // general.architecture
  absl::Span<const GgufKeyName> keys;              // beside GgufKeys()
  absl::Span<const GgufTensorName> layer_tensors;  // beside GgufLayerTensors()
  // Adds what these files leave to their readers, as keys of config.json, once all others are there. Null if
  // there is nothing.
  void (*complete)(nlohmann::json& config) = nullptr;
  // Whether the weights of RMSNorms are whole: ModelConfig::norm_offset was added when the file was made.
  bool whole_norms = false;
};

// What architectures have in common.
absl::Span<const GgufKeyName> GgufKeys();
absl::Span<const GgufTensorName> GgufOuterTensors();
absl::Span<const GgufTensorName> GgufLayerTensors();

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_ARCHITECTURES_GGUF_NAMES_H_
