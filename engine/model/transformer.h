// A decoder-only transformer over a flat batch of tokens that belong to several sessions.
#ifndef MEMGATE_ENGINE_MODEL_TRANSFORMER_H_
#define MEMGATE_ENGINE_MODEL_TRANSFORMER_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/model_config.h"
#include "engine/kernels/aligned_bytes.h"
#include "engine/model/weights.h"
#include "engine/session/layer_ropes.h"
#include "engine/session/session_state.h"

namespace memgate {

// Which tokens of a chunk want logits.
enum class LogitRows { kNone, kLast, kAll };

// Consecutive tokens of one session. A session appears at most once in a batch.
struct SequenceChunk {
  SessionState* session = nullptr;
  absl::Span<const int32_t> tokens;  // 1 .. TokensUntilFold() ids in [0, V)
  LogitRows logits = LogitRows::kLast;
};

// How large a step can be, and what its linear layers need.
struct WorkspaceSize {
  int max_tokens = 0;  // T
  int max_logit_rows = 0;
  WeightFormat weights = WeightFormat::kF32;
};

// Work buffers of one step, sized once. Unit of all but the scratch: floats.
class Workspace {
 public:
  Workspace(const ModelConfig& config, const WorkspaceSize& size);
  static int64_t Bytes(const ModelConfig& config, const WorkspaceSize& size);

  int max_tokens() const { return size_.max_tokens; }
  int max_logit_rows() const { return size_.max_logit_rows; }

 private:
  friend class Transformer;
  const WorkspaceSize size_;
  std::vector<float> hidden_;       // [T, C]
  std::vector<float> normalised_;   // [T, C]
  std::vector<float> qkv_;          // [T, (H + 2G) D]
  std::vector<float> attended_;     // [T, H D]
  std::vector<float> activated_;    // [T, F]
  std::vector<float> angles_;       // [ropes, T, D]
  std::vector<float> far_angles_;   // [ropes, T, D], one row per chunk
  std::vector<float> logit_input_;  // [logit rows, C]
  std::vector<float> logits_;       // [logit rows, V]
  AlignedBytes scratch_;            // of the linear layers
};

// Constant after loading, but Forward is called by one thread at a time (kernels/linear.h).
class Transformer {
 public:
  Transformer(const ModelConfig& config, ModelWeights weights);

  // Takes the batch's tokens into their sessions. Returns the logits asked for, [rows, V], in batch order;
  // they live in `work` until its next use, and are the caller's to change. REQUIRES: at most
  // work.max_tokens() tokens and max_logit_rows() rows.
  absl::StatusOr<absl::Span<float>> Forward(absl::Span<const SequenceChunk> batch, Workspace& work) const;

  const ModelConfig& config() const { return config_; }
  const LayerRopes& ropes() const { return ropes_; }
  const ModelWeights& weights() const { return weights_; }

 private:
  int Embed(absl::Span<const SequenceChunk> batch, Workspace& work) const;
  void ComputeAngles(absl::Span<const SequenceChunk> batch, Workspace& work) const;
  absl::Status Layer(int index, absl::Span<const SequenceChunk> batch, int tokens, Workspace& work) const;
  void Attend(int index, absl::Span<const SequenceChunk> batch, Workspace& work) const;
  absl::Status AddBlock(const Linear& linear, const float* x, const std::vector<float>& post_norm, int tokens,
                        Workspace& work) const;
  absl::StatusOr<absl::Span<float>> Logits(absl::Span<const SequenceChunk> batch, Workspace& work) const;

  const ModelConfig config_;
  const ModelWeights weights_;
  const LayerRopes ropes_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MODEL_TRANSFORMER_H_
