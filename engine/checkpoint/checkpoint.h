// A model as it lies on disk, whatever it came in.
#ifndef MEMGATE_ENGINE_CHECKPOINT_CHECKPOINT_H_
#define MEMGATE_ENGINE_CHECKPOINT_CHECKPOINT_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/tensor.h"
#include "engine/text/gguf_vocabulary.h"

namespace memgate {

struct Checkpoint {
  ModelConfig config;
  GenerationDefaults generation;
  // Names and shapes as in Hugging Face folders: "model.layers.0.self_attn.q_proj.weight".
  std::unique_ptr<TensorSource> tensors;
  // What a GGUF file says about its tokenizer. None: it lies in the folder.
  std::optional<GgufVocabulary> vocabulary;
};

// Opens a Hugging Face folder (hugging_face.h) or a GGUF file (gguf_source.h). Errors as these.
absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path);

// The model's name if nobody gives it another: the last component of the path, without ".gguf".
std::string CheckpointName(const std::string& path);

// Where files that belong to the model lie, memory modules among them: the folder itself, or that of the
// file.
std::string CheckpointFolder(const std::string& path);

// INVALID_ARGUMENT if an eos id is outside the vocabulary. Lowers top_k to its size.
absl::Status FitToVocabulary(int vocab_size, GenerationDefaults& defaults);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_CHECKPOINT_H_
