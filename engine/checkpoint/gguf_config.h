// What the metadata of a GGUF file says about its model, in the terms of the rest of the engine.
#ifndef MEMGATE_ENGINE_CHECKPOINT_GGUF_CONFIG_H_
#define MEMGATE_ENGINE_CHECKPOINT_GGUF_CONFIG_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/model_config.h"
#include "engine/text/gguf_vocabulary.h"

namespace memgate {

// All functions are pure; errors name the key or tensor. INVALID_ARGUMENT for what is missing or wrong,
// UNIMPLEMENTED for what is not supported.

// The architecture that general.architecture names; also refuses parts of split files.
absl::StatusOr<const Architecture*> FindGgufArchitecture(const GgufFile& file);

// Translates the metadata into the keys of config.json, which the architecture reads as it would those of a
// folder: one place decides what each of them means and which values are refused. The size of the vocabulary
// and whether the embedding is the output matrix are told by the tensors, the divisors of RoPE's frequencies
// by "rope_freqs.weight". `image` are the bytes of the file.
absl::StatusOr<ModelConfig> GgufModelConfig(const GgufFile& file, absl::Span<const std::byte> image,
                                            const Architecture& architecture);

// Everything about the tokenizer; what it means is for engine/text to say.
absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const GgufFile& file);

// general.sampling.*. Names no end tokens: which there are is told by the tokenizer (Tokenizer::end_ids).
absl::StatusOr<GenerationDefaults> GgufGenerationDefaults(const GgufFile& file);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_GGUF_CONFIG_H_
