#include "engine/attention/attention.h"

#include <algorithm>
#include <memory>
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
  std::vector<float> key(dim);
  for (int t = 0; t < chunk.tokens; ++t) {
    for (int g = 0; g < config.num_kv_heads; ++g) {
      const int64_t from = t * chunk.row_stride + g * dim;
      const int64_t row = g * view.shape.rows() + view.Row(session.length() + t);
      Rotate(chunk.angles + int64_t{t} * dim, dim, chunk.keys + from, key.data());
      view.keys.Store(row, key.data());
      view.values.Store(row, chunk.values + from);
    }
  }
  if (view.local()) return;
  // Sinks never leave, so only window tokens keep features.
  const int features = config.num_kv_heads * session.kind().TokenFeatures();
  const int skip =
      static_cast<int>(std::clamp<int64_t>(session.shape().sinks - session.length(), 0, chunk.tokens));
  if (features > 0 && skip < chunk.tokens) {
    const int64_t row = view.Row(session.length() + skip) - view.window_row();
    session.kind().ComputeFeatures(chunk.layer, chunk.layer_input + int64_t{skip} * config.hidden_size,
                                   chunk.tokens - skip, view.features + row * features);
  }
}

// Most queries that share a pass over the keys of their KV head: enough that transposing keys costs little,
// few enough that their scores stay in the second-level cache.
constexpr int kQueriesTogether = 128;

// The queries of tokens [begin, end) that read KV head g, as [tokens, R, D], rotated by one angle per token.
void RotateQueries(const AttentionChunk& chunk, int begin, int end, int g, const float* angles,
                   int64_t angle_stride, float* out) {
  const ModelConfig& config = *chunk.session->context().config;
  const int dim = config.head_dim;
  for (int t = begin; t < end; ++t) {
    const float* query = chunk.queries + t * chunk.row_stride + int64_t{g} * config.group_size() * dim;
    for (int r = 0; r < config.group_size(); ++r, query += dim, out += dim) {
      Rotate(angles + t * angle_stride, dim, query, out);
    }
  }
}

// What the queries of tokens [begin, end) that read one KV head have in common, but for the rows they see.
AttendQueries QueriesOf(const AttentionChunk& chunk, int begin, int end) {
  const ModelConfig& config = *chunk.session->context().config;
  return {.count = (end - begin) * config.group_size(),
          .per_token = config.group_size(),
          .head_dim = config.head_dim,
          .scale = config.AttentionScale(chunk.layer),
          .cap = config.attention_softcap};
}

// A local layer: plain causal attention within its window. Rows are numbered by position.
void AttendOwnWindow(const AttentionChunk& chunk, const LayerView& view, int g, int begin, int end,
                     float* out) {
  const SessionState& session = *chunk.session;
  AttendQueries queries = QueriesOf(chunk, begin, end);
  const auto rotated = std::make_unique_for_overwrite<float[]>(int64_t{queries.count} * queries.head_dim);
  RotateQueries(chunk, begin, end, g, chunk.angles, queries.head_dim, rotated.get());
  queries.first_row = view.folded;
  queries.first_limit = session.length() + begin + 1;
  queries.window = view.local_window;
  const int64_t first = g * view.shape.rows();
  const AttendRun run = {rotated.get(), view.keys.From(first), view.values.From(first),
                         session.length() + end - view.folded};
  Attend({&run, 1}, queries, out);
}

// One softmax over two runs of rows: [sinks | salient] and the window up to the query's own token. Before the
// first fold there are no salient tokens and the sinks are seen at their true positions: plain causal
// attention.
void AttendHeld(const AttentionChunk& chunk, const LayerView& view, int g, int begin, int end, float* out) {
  const SessionState& session = *chunk.session;
  AttendQueries queries = QueriesOf(chunk, begin, end);
  const int64_t block_floats = int64_t{queries.count} * queries.head_dim;
  const bool far = session.clamped();
  const auto scratch = std::make_unique_for_overwrite<float[]>((far ? 2 : 1) * block_floats);
  float* near_queries = scratch.get();
  float* far_queries = far ? near_queries + block_floats : near_queries;
  RotateQueries(chunk, begin, end, g, chunk.angles, queries.head_dim, near_queries);
  if (far) RotateQueries(chunk, begin, end, g, chunk.far_angles, 0, far_queries);

  const KvRows keys = view.keys.From(g * view.shape.rows());
  const KvRows values = view.values.From(g * view.shape.rows());
  const int64_t held = session.length() + end - view.folded;  // sinks and window tokens
  const int64_t sinks = std::min<int64_t>(held, view.shape.sinks);
  const AttendRun runs[] = {
      {far_queries, keys, values, sinks + view.salient_count()},
      {near_queries, keys.From(view.window_row()), values.From(view.window_row()), held - sinks},
  };
  queries.first_limit = view.salient_count() + session.length() + begin + 1 - view.folded;
  Attend(runs, queries, out);
}

void AttendTokens(const AttentionChunk& chunk, const LayerView& view, int g, int begin, int end, float* out) {
  const ModelConfig& config = *chunk.session->context().config;
  const int64_t group_floats = int64_t{config.group_size()} * config.head_dim;
  const auto attended = std::make_unique_for_overwrite<float[]>((end - begin) * group_floats);
  (view.local() ? AttendOwnWindow : AttendHeld)(chunk, view, g, begin, end, attended.get());
  for (int t = begin; t < end; ++t) {
    std::copy_n(&attended[(t - begin) * group_floats], group_floats,
                out + int64_t{t} * config.num_heads * config.head_dim + g * group_floats);
  }
}

void AttendLocally(const AttentionChunk& chunk, const LayerView& view, float* out) {
  const SessionState& session = *chunk.session;
  const ModelConfig& config = *session.context().config;
  // Blocks of tokens: work for every thread.
  const int wanted = (ComputeThreads() + config.num_kv_heads - 1) / config.num_kv_heads;
  const int most = std::max(1, kQueriesTogether / config.group_size());
  const int together = std::clamp((chunk.tokens + wanted - 1) / wanted, 1, most);
  const int blocks = (chunk.tokens + together - 1) / together;
  const int64_t held = view.salient_count() + session.length() - view.folded + chunk.tokens;
  const int64_t queries = int64_t{together} * config.group_size();
  ParallelFor(int64_t{blocks} * config.num_kv_heads, LeastItems(2 * held * config.head_dim * queries),
              [&](int64_t first, int64_t last, int) {
                for (int64_t i = first; i < last; ++i) {
                  const int begin = static_cast<int>(i % blocks) * together;
                  AttendTokens(chunk, view, static_cast<int>(i / blocks), begin,
                               std::min(begin + together, chunk.tokens), out);
                }
              });
}

}  // namespace

void AttendChunk(const AttentionChunk& chunk, float* out) {
  SessionState& session = *chunk.session;
  const LayerView view = session.Layer(chunk.layer);
  StoreChunk(chunk, view);
  AttendLocally(chunk, view, out);
  if (!view.local() && session.written() > 0 && session.kind().Recalls()) {
    session.kind().Combine(chunk.layer,
                           {.tokens = chunk.tokens,
                            .queries = chunk.queries,
                            .query_stride = chunk.row_stride,
                            .layer_input = chunk.layer_input,
                            .angles = chunk.angles,
                            .written = session.written()},
                           view.memory, out);
  }
}

}  // namespace memgate
