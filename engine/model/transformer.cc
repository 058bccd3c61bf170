#include "engine/model/transformer.h"

#include <algorithm>
#include <utility>

#include "engine/attention/attention.h"
#include "engine/kernels/elementwise.h"
#include "engine/kernels/parallel.h"

namespace memgate {
namespace {

int QkvWidth(const ModelConfig& config) {
  return (config.num_heads + 2 * config.num_kv_heads) * config.head_dim;
}

void NormRows(const float* x, const std::vector<float>& weight, float eps, int rows, float* out) {
  const int width = static_cast<int>(weight.size());
  ParallelFor(rows, LeastItems(2 * width), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      RmsNorm(x + r * width, weight.data(), eps, width, out + r * width);
    }
  });
}

// RMSNorm over D of each query and key head, in place.
void NormHeads(const ModelConfig& config, const LayerWeights& layer, int tokens, float* qkv) {
  const int d = config.head_dim;
  for (int t = 0; t < tokens; ++t) {
    float* row = qkv + int64_t{t} * QkvWidth(config);
    for (int h = 0; h < config.num_heads + config.num_kv_heads; ++h) {
      const auto& weight = h < config.num_heads ? layer.query_norm : layer.key_norm;
      RmsNorm(row + h * d, weight.data(), config.rms_norm_eps, d, row + h * d);
    }
  }
}

// For any linear layer of a step.
int64_t ScratchBytes(const ModelConfig& config, const WorkspaceSize& size) {
  const ModelShapes shapes(config, size.weights);
  int64_t bytes = Linear::ScratchBytes(shapes.head, size.max_logit_rows);
  for (const LinearShape& shape : {shapes.qkv, shapes.attention_out, shapes.gate_up, shapes.down}) {
    bytes = std::max(bytes, Linear::ScratchBytes(shape, size.max_tokens));
  }
  return bytes;
}

}  // namespace

Workspace::Workspace(const ModelConfig& config, const WorkspaceSize& size)
    : size_(size), scratch_(ScratchBytes(config, size)) {
  const size_t t = size.max_tokens;
  hidden_.resize(t * config.hidden_size);
  normalised_.resize(t * config.hidden_size);
  qkv_.resize(t * QkvWidth(config));
  attended_.resize(t * config.num_heads * config.head_dim);
  activated_.resize(t * config.intermediate_size);
  angles_.resize(config.ropes.size() * t * config.head_dim);
  far_angles_.resize(config.ropes.size() * t * config.head_dim);
  logit_input_.resize(size_t(size.max_logit_rows) * config.hidden_size);
  logits_.resize(size_t(size.max_logit_rows) * config.vocab_size);
}

int64_t Workspace::Bytes(const ModelConfig& config, const WorkspaceSize& size) {
  const int64_t per_token = 2 * int64_t{config.hidden_size} + QkvWidth(config) +
                            config.num_heads * config.head_dim + config.intermediate_size +
                            2 * static_cast<int64_t>(config.ropes.size()) * config.head_dim;
  const int64_t per_logit_row = int64_t{config.hidden_size} + config.vocab_size;
  return (size.max_tokens * per_token + size.max_logit_rows * per_logit_row) * int64_t{sizeof(float)} +
         ScratchBytes(config, size);
}

Transformer::Transformer(const ModelConfig& config, ModelWeights weights)
    : config_(config), weights_(std::move(weights)), ropes_(config) {}

absl::StatusOr<absl::Span<float>> Transformer::Forward(absl::Span<const SequenceChunk> batch,
                                                       Workspace& work) const {
  for (const SequenceChunk& chunk : batch) chunk.session->Prepare(static_cast<int64_t>(chunk.tokens.size()));
  const int tokens = Embed(batch, work);
  ComputeAngles(batch, work);
  for (int l = 0; l < config_.num_layers; ++l) {
    if (auto s = Layer(l, batch, tokens, work); !s.ok()) return s;
  }
  auto logits = Logits(batch, work);
  if (!logits.ok()) return logits;
  for (const SequenceChunk& chunk : batch) chunk.session->Commit(static_cast<int64_t>(chunk.tokens.size()));
  return logits;
}

// Token embeddings; returns T.
int Transformer::Embed(absl::Span<const SequenceChunk> batch, Workspace& work) const {
  const int c = config_.hidden_size;
  int t = 0;
  for (const SequenceChunk& chunk : batch) {
    for (size_t j = 0; j < chunk.tokens.size(); ++j, ++t) {
      ToFloat(weights_.embedding.Row(chunk.tokens[j]),
              absl::MakeSpan(work.hidden_).subspan(int64_t{t} * c, c));
    }
  }
  if (config_.embedding_scale != 1.0f) Multiply(config_.embedding_scale, int64_t{t} * c, work.hidden_.data());
  return t;
}

// The angles of every token's position and of each session's far distance, for each of the model's ropes.
void Transformer::ComputeAngles(absl::Span<const SequenceChunk> batch, Workspace& work) const {
  const int d = config_.head_dim;
  for (size_t r = 0; r < config_.ropes.size(); ++r) {
    float* angles = &work.angles_[r * work.max_tokens() * d];
    float* far_angles = &work.far_angles_[r * work.max_tokens() * d];
    for (const SequenceChunk& chunk : batch) {
      const SessionState& session = *chunk.session;
      const Rope& rope = session.rope(static_cast<int>(r));
      rope.Angles(session.shape().far_distance(), far_angles);
      far_angles += d;
      for (size_t j = 0; j < chunk.tokens.size(); ++j, angles += d) {
        rope.Angles(session.length() + static_cast<int64_t>(j), angles);
      }
    }
  }
}

// x += Wo attention(norm(x)); x += Wdown (activation(Wgate norm(x)) * Wup norm(x)). What is added passes a
// norm of its own in models with post_norms.
absl::Status Transformer::Layer(int index, absl::Span<const SequenceChunk> batch, int tokens,
                                Workspace& work) const {
  const LayerWeights& layer = weights_.layers[index];
  float* x = work.hidden_.data();
  float* normalised = work.normalised_.data();
  const absl::Span<std::byte> scratch = work.scratch_.span();

  NormRows(x, layer.attention_norm, config_.rms_norm_eps, tokens, normalised);
  if (auto s = layer.qkv.Apply(normalised, tokens, work.qkv_.data(), scratch); !s.ok()) return s;
  if (config_.qk_norm) NormHeads(config_, layer, tokens, work.qkv_.data());
  Attend(index, batch, work);
  if (auto s = AddBlock(layer.attention_out, work.attended_.data(), layer.attention_post_norm, tokens, work);
      !s.ok()) {
    return s;
  }

  NormRows(x, layer.mlp_norm, config_.rms_norm_eps, tokens, normalised);
  if (auto s = layer.gate_up.ApplyGated(normalised, tokens, work.activated_.data(), scratch); !s.ok()) {
    return s;
  }
  return AddBlock(layer.down, work.activated_.data(), layer.mlp_post_norm, tokens, work);
}

// attended = attention of each chunk over its session.
void Transformer::Attend(int index, absl::Span<const SequenceChunk> batch, Workspace& work) const {
  const int d = config_.head_dim;
  const int64_t width = QkvWidth(config_);
  const int64_t first_angles = int64_t{config_.layer(index).rope} * work.max_tokens() * d;
  int64_t t = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    const float* queries = &work.qkv_[t * width];
    const float* keys = queries + config_.num_heads * d;
    AttendChunk({.session = batch[i].session,
                 .layer = index,
                 .tokens = static_cast<int>(batch[i].tokens.size()),
                 .queries = queries,
                 .keys = keys,
                 .values = keys + config_.num_kv_heads * d,
                 .row_stride = width,
                 .layer_input = &work.normalised_[t * config_.hidden_size],
                 .angles = &work.angles_[first_angles + t * d],
                 .far_angles = &work.far_angles_[first_angles + i * d]},
                &work.attended_[t * config_.num_heads * d]);
    t += static_cast<int64_t>(batch[i].tokens.size());
  }
}

// hidden += norm(x W^T), or without the norm where the model has none there. Overwrites `normalised`.
absl::Status Transformer::AddBlock(const Linear& linear, const float* x, const std::vector<float>& post_norm,
                                   int tokens, Workspace& work) const {
  const absl::Span<std::byte> scratch = work.scratch_.span();
  if (post_norm.empty()) return linear.AddTo(x, tokens, work.hidden_.data(), scratch);
  float* y = work.normalised_.data();
  if (auto s = linear.Apply(x, tokens, y, scratch); !s.ok()) return s;
  const int c = config_.hidden_size;
  ParallelFor(tokens, LeastItems(3 * c), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      RmsNorm(y + t * c, post_norm.data(), config_.rms_norm_eps, c, y + t * c);
      AddInPlace(y + t * c, c, &work.hidden_[t * c]);
    }
  });
  return absl::OkStatus();
}

// Final norm and head, for the rows that were asked for only.
absl::StatusOr<absl::Span<float>> Transformer::Logits(absl::Span<const SequenceChunk> batch,
                                                      Workspace& work) const {
  const int c = config_.hidden_size;
  int rows = 0;
  int64_t t = 0;
  for (const SequenceChunk& chunk : batch) {
    const int64_t end = t + static_cast<int64_t>(chunk.tokens.size());
    if (chunk.logits == LogitRows::kLast) t = end - 1;
    if (chunk.logits == LogitRows::kNone) t = end;
    for (; t < end; ++t, ++rows) {
      RmsNorm(&work.hidden_[t * c], weights_.final_norm.data(), config_.rms_norm_eps, c,
              &work.logit_input_[int64_t{rows} * c]);
    }
  }
  if (rows > 0) {
    if (auto s =
            weights_.head.Apply(work.logit_input_.data(), rows, work.logits_.data(), work.scratch_.span());
        !s.ok()) {
      return s;
    }
  }
  const int64_t count = int64_t{rows} * config_.vocab_size;
  if (config_.logit_softcap > 0) {
    ParallelFor(count, LeastItems(16), [&](int64_t begin, int64_t end, int) {
      SoftCap(config_.logit_softcap, &work.logits_[begin], end - begin, &work.logits_[begin]);
    });
  }
  return absl::MakeSpan(work.logits_.data(), count);
}

}  // namespace memgate
