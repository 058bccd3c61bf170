#include "engine/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/kernels/attend.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/rope.h"

namespace memgate {
namespace {

void StoreChunk(const AttentionChunk& chunk, const LayerView& view) {
  SessionState& session = *chunk.session;
  const ModelConfig& config = *session.context().config;
  const int dim = config.head_dim;
  const int64_t head_floats = session.shape().rows() * dim;
  for (int t = 0; t < chunk.tokens; ++t) {
    const int64_t row = session.Row(session.length() + t);
    for (int g = 0; g < config.num_kv_heads; ++g) {
      const int64_t from = t * chunk.row_stride + g * dim;
      const int64_t to = g * head_floats + row * dim;
      Rotate(chunk.angles + int64_t{t} * dim, dim, chunk.keys + from, view.keys + to);
      std::copy_n(chunk.values + from, dim, view.values + to);
    }
  }
  // Sinks never leave, so only window tokens keep features.
  const int features = session.kind().TokenFeatures();
  const int skip =
      static_cast<int>(std::clamp<int64_t>(session.shape().sinks - session.length(), 0, chunk.tokens));
  if (features > 0 && skip < chunk.tokens) {
    const int64_t row = session.Row(session.length() + skip) - session.window_row();
    session.kind().ComputeFeatures(chunk.layer, chunk.layer_input + int64_t{skip} * config.hidden_size,
                                   chunk.tokens - skip, view.features + row * features);
  }
}

// One softmax over two runs of rows: [sinks | salient] and the window up to the query's own token. Before the
// first fold there are no salient tokens and the sinks are seen at their true positions: plain causal
// attention.
void AttendLocally(const AttentionChunk& chunk, const LayerView& view, float* out) {
  const SessionState& session = *chunk.session;
  const ModelConfig& config = *session.context().config;
  const int dim = config.head_dim;
  const int64_t head_floats = session.shape().rows() * dim;
  const bool far = session.folded() > 0;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));

  const int64_t held = session.salient_count() + session.length() - session.folded() + chunk.tokens;
  ParallelFor(int64_t{chunk.tokens} * config.num_heads, LeastItems(2 * held * dim),
              [&](int64_t begin, int64_t end, int) {
                std::vector<float> scores(session.shape().rows());
                std::vector<float> near_query(dim);
                std::vector<float> far_query(dim);
                for (int64_t i = begin; i < end; ++i) {
                  const int t = static_cast<int>(i / config.num_heads);
                  const int head = static_cast<int>(i % config.num_heads);
                  const float* query = chunk.queries + t * chunk.row_stride + head * dim;
                  Rotate(chunk.angles + int64_t{t} * dim, dim, query, near_query.data());
                  if (far) Rotate(chunk.far_angles, dim, query, far_query.data());

                  const float* keys = view.keys + (head / config.group_size()) * head_floats;
                  const float* values = view.values + (head / config.group_size()) * head_floats;
                  const int64_t position = session.length() + t;
                  const int64_t window_offset = int64_t{session.window_row()} * dim;
                  const AttendPart parts[] = {
                      {far ? far_query.data() : near_query.data(), keys, values,
                       static_cast<int>(std::min<int64_t>(position + 1, session.shape().sinks)) +
                           session.salient_count()},
                      {near_query.data(), keys + window_offset, values + window_offset,
                       static_cast<int>(
                           std::max<int64_t>(0, position + 1 - session.shape().sinks - session.folded()))},
                  };
                  Attend(parts, dim, scale, scores.data(), out + i * dim);
                }
              });
}

}  // namespace

void AttendChunk(const AttentionChunk& chunk, float* out) {
  SessionState& session = *chunk.session;
  const LayerView view = session.Layer(chunk.layer);
  StoreChunk(chunk, view);
  AttendLocally(chunk, view, out);
  if (session.folded() > 0 && session.kind().StateFloats() > 0) {
    session.kind().Combine(chunk.layer, {chunk.tokens, chunk.queries, chunk.row_stride, chunk.layer_input},
                           view.memory, out);
  }
}

}  // namespace memgate
