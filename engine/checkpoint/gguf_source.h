// GGUF files as models: tensors under the names of a Hugging Face folder.
#ifndef MEMGATE_ENGINE_CHECKPOINT_GGUF_SOURCE_H_
#define MEMGATE_ENGINE_CHECKPOINT_GGUF_SOURCE_H_

#include <cstddef>
#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/tensor.h"

namespace memgate {

struct GgufTensors {
  std::map<std::string, TensorView, std::less<>> readable;      // by Hugging Face's name
  std::map<std::string, std::string, std::less<>> unsupported;  // by the same name: the type
};

// The tensors of the model, borrowed from `image`. Pure. UNIMPLEMENTED names a tensor that the architecture
// does not have: leaving it out would compute something else than the file's authors meant. INVALID_ARGUMENT
// names a tensor of a layer that is not there, or whose rows are no whole number of heads.
absl::StatusOr<GgufTensors> NameGgufTensors(const GgufFile& file, absl::Span<const std::byte> image,
                                            const Architecture& architecture, const ModelConfig& config);

// Opens a file. Errors start with the path; UNIMPLEMENTED or INVALID_ARGUMENT as ParseGguf, GgufModelConfig
// and NameGgufTensors. Find() of a tensor of a type that is not supported returns UNIMPLEMENTED and names the
// type; Names() and Has() speak of the others. Describe() has the file's own names.
absl::StatusOr<Checkpoint> OpenGgufFile(const std::string& path);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_GGUF_SOURCE_H_
