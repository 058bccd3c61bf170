// The weights of a decoder-only transformer, packed for the kernels.
#ifndef MEMGATE_ENGINE_MODEL_WEIGHTS_H_
#define MEMGATE_ENGINE_MODEL_WEIGHTS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/tensor.h"
#include "engine/checkpoint/weight_cache.h"
#include "engine/kernels/linear.h"

namespace memgate {

// The linear layers of a model. Under int4 the head holds 8 bits: it decides which token comes next.
struct ModelShapes {
  ModelShapes(const ModelConfig& config, WeightFormat format);

  LinearShape qkv, attention_out, gate_up, down;  // of every layer
  LinearShape head;
};

struct LayerWeights {
  std::vector<float> attention_norm;       // [C]
  Linear qkv;                              // [(H + 2G) D, C]: queries, keys, values
  std::vector<float> query_norm;           // [D], empty unless qk_norm
  std::vector<float> key_norm;             // [D], empty unless qk_norm
  Linear attention_out;                    // [C, H D]
  std::vector<float> attention_post_norm;  // [C], empty unless post_norms
  std::vector<float> mlp_norm;             // [C]
  Linear gate_up;                          // gated, both [F, C]
  Linear down;                             // [C, F]
  std::vector<float> mlp_post_norm;        // [C], empty unless post_norms
};

struct ModelWeights {
  std::optional<CachedWeights> mapped;  // if set, the layers below lie in it; so it goes last
  WeightFormat format = WeightFormat::kF32;
  TensorView embedding;  // [V, C], in its file, of any dtype
  std::vector<LayerWeights> layers;
  std::vector<float> final_norm;  // [C]
  Linear head;                    // [V, C]
  bool tied_head = false;         // packed from the embedding, not from a matrix of its own
  std::string qkv_part;           // what the blobs of queries, keys and values are called
  int64_t parameters = 0;
  int64_t packed_bytes = 0;  // held by layers, head and norms
};

// Bytes that LoadWeights will allocate, from the config alone: known before anything is.
int64_t PackedWeightBytes(const ModelConfig& config, WeightFormat format);

// Bytes that LoadWeights holds while it packs, beside the packed weights: the widest layer in f32.
int64_t LoadScratchBytes(const ModelConfig& config);

// Reads and packs the tensors of `source`, which must outlive the weights (the embedding stays in its file).
// With `cached`, what PackedBlobs gave for the same tensors and format, layers are mapped instead of packed.
// progress(done, total) is called after each layer. INVALID_ARGUMENT or NOT_FOUND describes the tensor
// (TensorSource::Describe), or names the blob.
absl::StatusOr<ModelWeights> LoadWeights(const ModelConfig& config, const TensorSource& source,
                                         WeightFormat format,
                                         absl::FunctionRef<void(int done, int total)> progress,
                                         std::optional<CachedWeights> cached = std::nullopt);

struct WeightsSummary {
  int64_t parameters = 0;
  std::string norms_fingerprint;
};

// Finds every tensor that LoadWeights would read, with its shape, and reads no numbers but those of norms.
// Errors as LoadWeights.
absl::StatusOr<WeightsSummary> CheckWeights(const ModelConfig& config, const TensorSource& source);

// FingerprintOfNumbers of the norms as above: layer by layer, in the order of LayerWeights, those that there
// are, then the last one. Files that hold the same model in other formats have the same one, since all of
// them keep norms as they are. Empty if every number is the same: norms that were never trained tell no model
// from another.
absl::StatusOr<std::string> NormsFingerprint(const ModelWeights& weights);

// Names the layout of PackedBlobs: other blobs, or other bytes in them, have another name. Empty for formats
// whose packed weights are not to be kept, as oneDNN's opaque ones.
std::string PackedLayout(WeightFormat format);

// The packed layers by name ("layers.0.qkv", ..., "head.tied" or "head.own"), to be kept for LoadWeights.
// What config.json decides about their bytes is part of the names. Borrows them. REQUIRES:
// PackedLayout(weights.format) is not empty.
std::vector<WeightBlob> PackedBlobs(const ModelWeights& weights);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MODEL_WEIGHTS_H_
