// A Hugging Face model folder: config.json, generation_config.json, *.safetensors.
#ifndef MEMGATE_ENGINE_CHECKPOINT_HUGGING_FACE_H_
#define MEMGATE_ENGINE_CHECKPOINT_HUGGING_FACE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/tensor.h"

namespace memgate {

// Parses config.json of the architectures in architectures/. INVALID_ARGUMENT names the key and what is
// wrong; UNIMPLEMENTED names the architecture, rope type, activation or other feature that is not supported
// and lists what is. On success every dimension is positive and bounded (L <= 1,024, others far from
// overflowing an int), G divides H, D is even, and the byte count of any single weight fits an int64.
// Where an architecture's files differ in what they call their tensors, `has_tensor` tells which these are.
absl::StatusOr<ModelConfig> ParseModelConfig(
    std::string_view json,
    absl::FunctionRef<bool(const std::string&)> has_tensor = [](const std::string&) { return false; });

// Parses generation_config.json; unknown keys are ignored. "do_sample": false becomes temperature 0; true
// without a temperature becomes 1, which is what the folder's authors mean by it.
absl::StatusOr<GenerationDefaults> ParseGenerationDefaults(std::string_view json);

// The end-of-sequence ids in config.json; none if it names none.
absl::StatusOr<std::vector<int32_t>> ParseEosTokenIds(std::string_view json);

// Opens a folder. generation_config.json is optional; where it names no eos ids, they come from config.json.
// INVALID_ARGUMENT if an eos id is outside the vocabulary. A default top_k above the vocabulary is lowered to
// it. Messages start with the path of the file at fault.
absl::StatusOr<Checkpoint> OpenHuggingFaceFolder(const std::string& folder);

// "sha256:<hex>" over all tensors in ascending byte order of name: name, byte 0, dtype name, byte 0, each
// dimension as little-endian u64, then the raw bytes. Then the `settings` in the order given: key, byte 0,
// value, byte 0. Ties memory modules and snapshots to their base. Reads every byte once.
absl::StatusOr<std::string> Fingerprint(const TensorSource& tensors,
                                        absl::Span<const std::pair<std::string, std::string>> settings = {});

// "sha256:<hex>" over lists of numbers in the order given, each as its length, a little-endian u64, and its
// numbers as little-endian f32.
absl::StatusOr<std::string> FingerprintOfNumbers(absl::Span<const absl::Span<const float>> lists);

// "sha256:<hex>" over what of a config decides, beside the tensors, what is computed: rotations, windows,
// norms, scales and caps. Equal for a folder and a GGUF file that say the same. Ties snapshots to their
// model, so it must not change from release to release: what is added to the config later is hashed where it
// differs from its default only.
absl::StatusOr<std::string> ConfigFingerprint(const ModelConfig& config);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_HUGGING_FACE_H_
