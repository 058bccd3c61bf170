#include "engine/session/session_state.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
#include "engine/kernels/parallel.h"

namespace memgate {
namespace {

constexpr size_t kArenaAlignment = 64;

int64_t FoldedAfter(const SessionShape& shape, int64_t length) {
  return length > 0 ? shape.FoldedAt(length - 1) : 0;
}

}  // namespace

// Tokens of one KV head outside the stores. Keys are not rotated.
struct SessionState::TokenRows {
  int dim;
  int features_per_token;
  std::vector<int64_t> positions;
  std::vector<float> keys, values;  // [tokens, D]
  std::vector<float> features;      // [tokens, f]

  TokenRows(int head_dim, int features, int tokens) : dim(head_dim), features_per_token(features) {
    positions.reserve(tokens);
    keys.reserve(static_cast<size_t>(tokens) * dim);
    values.reserve(static_cast<size_t>(tokens) * dim);
    this->features.reserve(static_cast<size_t>(tokens) * features);
  }
  int size() const { return static_cast<int>(positions.size()); }
  void Append(int64_t position, const float* key, const float* value, const float* token_features) {
    positions.push_back(position);
    keys.insert(keys.end(), key, key + dim);
    values.insert(values.end(), value, value + dim);
    features.insert(features.end(), token_features, token_features + features_per_token);
  }
};

// The shape of one layer and the sizes of its parts.
struct SessionState::Layout {
  SessionShape shape;
  int64_t local_window;  // as LayerView
  int features;          // per token and KV head
  int64_t key_bytes;     // keys (or values) of all KV heads
  int64_t feature_floats;
  int64_t salient;  // slots of all KV heads
  int64_t salient_floats;
  int64_t memory_floats;

  Layout(const SessionContext& context, const SessionShape& session, int layer)
      : local_window(LocalWindow(*context.config, session, layer)) {
    const bool local = local_window > 0;
    const int64_t heads = context.config->num_kv_heads;
    shape = local ? session.OfLocalLayer(local_window) : session;
    features = local ? 0 : context.kind->TokenFeatures();
    key_bytes = shape.rows() * heads * KvRowBytes(context.kv_format, context.config->head_dim);
    feature_floats = (int64_t{shape.window} + shape.segment) * heads * features;
    salient = shape.salient * heads;
    salient_floats = salient * features;
    memory_floats = local ? 0 : context.kind->StateFloats();
  }

  // In order of alignment: positions, floats, rows; padded for the next layer's positions.
  int64_t bytes() const {
    constexpr int64_t kAlignment = sizeof(int64_t);
    const int64_t floats = feature_floats + salient_floats + memory_floats;
    const int64_t used = salient * int64_t{sizeof(int64_t)} + floats * int64_t{sizeof(float)} + 2 * key_bytes;
    return (used + kAlignment - 1) / kAlignment * kAlignment;
  }

  // The base model's window in `layer` if it is shorter than what a session holds exactly, else 0.
  static int64_t LocalWindow(const ModelConfig& config, const SessionShape& session, int layer) {
    const int64_t window = config.layer(layer).window;
    return window < session.exact_capacity() ? window : 0;
  }

  // Bytes of the layers in front of `layer`. Models have layers of one or two kinds, in any order.
  static int64_t Offset(const SessionContext& context, const SessionShape& session, int layer) {
    struct Kind {
      int64_t window = -1;
      int64_t bytes = 0;
    };
    Kind kinds[2];  // of the last layer without and with a window that were seen
    int64_t offset = 0;
    for (int l = 0; l < layer; ++l) {
      const int64_t window = LocalWindow(*context.config, session, l);
      Kind& kind = kinds[window > 0];
      if (kind.window != window) kind = {window, Layout(context, session, l).bytes()};
      offset += kind.bytes;
    }
    return offset;
  }
};

SessionBytes SessionState::Bytes(const SessionContext& context, const SessionShape& shape) {
  SessionBytes bytes;
  for (int layer = 0; layer < context.config->num_layers; ++layer) {
    const Layout layout(context, shape, layer);
    const int64_t feature_bytes = layout.feature_floats * int64_t{sizeof(float)};
    const int64_t memory_bytes = layout.memory_floats * int64_t{sizeof(float)};
    bytes.key_value += 2 * layout.key_bytes;
    bytes.features += feature_bytes;
    bytes.memory += memory_bytes;
    // With the padding of the layer block.
    bytes.salient += layout.bytes() - 2 * layout.key_bytes - feature_bytes - memory_bytes;
  }
  bytes.object = sizeof(SessionState);
  return bytes;
}

SessionState::SessionState(const SessionContext& context, const SessionShape& shape,
                           std::pmr::memory_resource* resource)
    : context_(context),
      shape_(shape),
      resource_(resource),
      arena_bytes_(static_cast<size_t>(Bytes(context, shape).arena())),
      arena_(static_cast<std::byte*>(resource->allocate(arena_bytes_, kArenaAlignment))) {
  std::memset(arena_, 0, arena_bytes_);
}

SessionState::~SessionState() { resource_->deallocate(arena_, arena_bytes_, kArenaAlignment); }

LayerView SessionState::Layer(int layer) {
  const Layout layout(context_, shape_, layer);
  std::byte* base = arena_ + Layout::Offset(context_, shape_, layer);
  const int dim = context_.config->head_dim;
  LayerView view;
  view.shape = layout.shape;
  view.folded = layout.shape.FoldedAt(prepared_);
  view.local_window = layout.local_window;
  view.salient_positions = reinterpret_cast<int64_t*>(base);
  view.features = reinterpret_cast<float*>(view.salient_positions + layout.salient);
  view.salient_features = view.features + layout.feature_floats;
  view.memory = absl::MakeSpan(view.salient_features + layout.salient_floats, layout.memory_floats);
  auto* keys = reinterpret_cast<std::byte*>(view.memory.data() + layout.memory_floats);
  view.keys = KvRows(context_.kv_format, dim, keys);
  view.values = KvRows(context_.kv_format, dim, keys + layout.key_bytes);
  return view;
}

// Calls visit(shape) with the session's shape and that of each local layer.
template <typename Visitor>
void SessionState::VisitShapes(const Visitor& visit) const {
  visit(shape_);
  for (int layer = 0; layer < static_cast<int>(context_.config->layers.size()); ++layer) {
    const int64_t window = Layout::LocalWindow(*context_.config, shape_, layer);
    if (window > 0) visit(shape_.OfLocalLayer(window));
  }
}

int64_t SessionState::TokensUntilFold() const {
  int64_t tokens = std::numeric_limits<int64_t>::max();
  VisitShapes([&](const SessionShape& shape) { tokens = std::min(tokens, shape.TokensUntilFold(length_)); });
  return tokens;
}

void SessionState::Prepare(int64_t /*tokens*/) {
  bool due = false;
  VisitShapes(
      [&](const SessionShape& shape) { due = due || shape.FoldedAt(length_) != shape.FoldedAt(prepared_); });
  if (due) {
    const ModelConfig& config = *context_.config;
    // A fold moves the whole window and, for most kinds, writes each token into a matrix of D columns.
    const int64_t operations = config.num_kv_heads * (shape_.rows() * config.head_dim) +
                               shape_.segment * context_.kind->StateFloats();
    const std::vector<float> angles = LeavingAngles();
    ParallelFor(config.num_layers, LeastItems(operations), [&](int64_t begin, int64_t end, int) {
      for (int64_t layer = begin; layer < end; ++layer) FoldLayer(static_cast<int>(layer), angles);
    });
  }
  prepared_ = length_;
}

bool SessionState::settled() const {
  bool settled = true;
  VisitShapes([&](const SessionShape& shape) {
    settled = settled && shape.FoldedAt(prepared_) == FoldedAfter(shape, length_);
  });
  return settled;
}

// Of the segment that leaves all layers but the local ones, for each of the model's ropes: [ropes, P, D].
// Empty if none does.
std::vector<float> SessionState::LeavingAngles() const {
  std::vector<float> angles;
  if (folded() == shape_.FoldedAt(length_)) return angles;
  const int dim = context_.config->head_dim;
  const size_t ropes = context_.config->ropes.size();
  angles.resize(ropes * shape_.segment * dim);
  float* to = angles.data();
  for (size_t r = 0; r < ropes; ++r) {
    for (int t = 0; t < shape_.segment; ++t, to += dim) {
      rope(static_cast<int>(r)).Angles(shape_.sinks + folded() + t, to);
    }
  }
  return angles;
}

// Lets the oldest segment leave if it is due. angles: LeavingAngles().
void SessionState::FoldLayer(int layer, absl::Span<const float> angles) {
  const LayerView view = Layer(layer);
  if (view.folded == view.shape.FoldedAt(length_)) return;
  const int64_t segment = view.shape.segment;
  for (int g = 0; g < context_.config->num_kv_heads; ++g) {
    if (!view.local()) {
      const int64_t of_rope = context_.config->layer(layer).rope * segment * context_.config->head_dim;
      FoldHead(layer, g, view, angles.data() + of_rope);
    }
    const int64_t window = g * view.shape.rows() + view.window_row();
    for (const KvRows& rows : {view.keys, view.values})
      rows.Move(window + segment, window, view.shape.window);
  }
  if (view.local()) return;
  const int64_t features = int64_t{context_.config->num_kv_heads} * kind().TokenFeatures();
  std::memmove(view.features, view.features + segment * features,
               static_cast<size_t>(view.shape.window) * features * sizeof(float));
}

// What becomes of a KV head's tokens that leave. angles: [P, D], theirs.
void SessionState::FoldHead(int layer, int kv_head, const LayerView& view, const float* angles) const {
  if (view.folded == 0 && kind().ClampsFarTokens()) RotateBackSinks(layer, kv_head, view);
  if (shape_.salient == 0 && kind().StateFloats() == 0) return;
  TokenRows leaving = Segment(view, kv_head, angles);
  kind().CompleteFeatures(layer, Evicted(layer, kv_head, leaving), view.memory, leaving.features.data());
  if (shape_.salient > 0) leaving = ExchangeSalient(view, kv_head, std::move(leaving));
  if (kind().StateFloats() > 0 && leaving.size() > 0) {
    kind().Write(layer, Evicted(layer, kv_head, leaving), view.memory);
  }
}

void SessionState::RotateBackSinks(int layer, int kv_head, const LayerView& view) const {
  const int dim = context_.config->head_dim;
  std::vector<float> cos_sin(dim), key(dim);
  for (int64_t p = 0; p < shape_.sinks; ++p) {
    const int64_t row = kv_head * shape_.rows() + p;
    rope(context_.config->layer(layer).rope).Angles(p, cos_sin.data());
    view.keys.Load(row, 1, key.data());
    RotateBack(cos_sin.data(), dim, key.data(), key.data());
    view.keys.Store(row, key.data());
  }
}

EvictedTokens SessionState::Evicted(int layer, int kv_head, const TokenRows& tokens) const {
  return {.kv_head = kv_head,
          .tokens = tokens.size(),
          .positions = tokens.positions.data(),
          .keys = tokens.keys.data(),
          .values = tokens.values.data(),
          .features = tokens.features.data(),
          .rope = &rope(context_.config->layer(layer).rope)};
}

// The P oldest tokens of the window.
SessionState::TokenRows SessionState::Segment(const LayerView& view, int kv_head, const float* angles) const {
  const int dim = context_.config->head_dim;
  const int features = kind().TokenFeatures();
  const int64_t row = kv_head * shape_.rows() + view.window_row();
  TokenRows segment(dim, features, shape_.segment);
  std::vector<float> key(dim), value(dim);
  for (int t = 0; t < shape_.segment; ++t) {
    view.keys.Load(row + t, 1, key.data());
    RotateBack(angles + int64_t{t} * dim, dim, key.data(), key.data());
    view.values.Load(row + t, 1, value.data());
    segment.Append(shape_.sinks + view.folded + t, key.data(), value.data(),
                   view.features + (int64_t{t} * context_.config->num_kv_heads + kv_head) * features);
  }
  return segment;
}

// Streaming top-E by retention score: of the slots and the segment the best E stay or move in, on equal
// scores the older ones. Returns the others in order of position.
SessionState::TokenRows SessionState::ExchangeSalient(const LayerView& view, int kv_head,
                                                      TokenRows segment) const {
  const int dim = segment.dim;
  const int features = segment.features_per_token;
  const int64_t window = kv_head * shape_.rows() + view.window_row();
  const int64_t first_slot = kv_head * shape_.rows() + shape_.sinks;
  float* slot_features = view.salient_features + int64_t{kv_head} * shape_.salient * features;
  int64_t* slot_positions = view.salient_positions + int64_t{kv_head} * shape_.salient;

  // Candidates: the used slots, then the segment's tokens.
  struct Candidate {
    float score;
    int64_t position;
    int index;
  };
  const int used = view.salient_count();
  std::vector<Candidate> candidates;
  candidates.reserve(used + segment.size());
  for (int e = 0; e < used; ++e) {
    candidates.push_back({ComparableScore(slot_features[int64_t{e} * features]), slot_positions[e], e});
  }
  for (int t = 0; t < segment.size(); ++t) {
    candidates.push_back(
        {ComparableScore(segment.features[int64_t{t} * features]), segment.positions[t], used + t});
  }
  const auto stays = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.position < b.position;
  };
  const auto older = [](const Candidate& a, const Candidate& b) {
    return a.position != b.position ? a.position < b.position : a.index < b.index;
  };
  const auto kept = candidates.begin() + std::min<int64_t>(candidates.size(), shape_.salient);
  std::nth_element(candidates.begin(), kept, candidates.end(), stays);
  const auto moving_in =
      std::partition(candidates.begin(), kept, [&](const Candidate& c) { return c.index < used; });
  std::sort(moving_in, kept, older);
  std::sort(kept, candidates.end(), older);

  TokenRows leaving(dim, features, segment.size());
  std::vector<float> key(dim), value(dim);
  std::vector<int> free_slots;
  for (auto c = kept; c != candidates.end(); ++c) {
    const int64_t i = c->index < used ? c->index : c->index - used;
    if (c->index < used) {
      view.keys.Load(first_slot + i, 1, key.data());
      view.values.Load(first_slot + i, 1, value.data());
      leaving.Append(c->position, key.data(), value.data(), slot_features + i * features);
      free_slots.push_back(c->index);
    } else {
      leaving.Append(c->position, &segment.keys[i * dim], &segment.values[i * dim],
                     &segment.features[i * features]);
    }
  }
  for (int e = used; e < kept - candidates.begin(); ++e) free_slots.push_back(e);
  auto slot = free_slots.begin();
  for (auto c = moving_in; c != kept; ++c) {
    const int64_t t = c->index - used, e = *slot++;
    slot_positions[e] = c->position;
    view.keys.Store(first_slot + e, &segment.keys[t * dim]);
    view.values.Move(window + t, first_slot + e, 1);
    std::copy_n(&segment.features[t * features], features, slot_features + e * features);
  }
  return leaving;
}

void SessionState::Clear() {
  std::memset(arena_, 0, arena_bytes_);
  length_ = 0;
  prepared_ = 0;
}

void SessionState::CopyFrom(const SessionState& other) {
  std::memcpy(arena_, other.arena_, arena_bytes_);
  length_ = other.length_;
  prepared_ = other.prepared_;
}

TokenAccounting SessionState::Accounting(int pending) const {
  TokenAccounting accounting;
  accounting.total = length_ + pending;
  accounting.exact = length_ - folded() + pending;
  accounting.salient = salient_count();
  const int64_t rest = folded() - accounting.salient;
  (kind().Recalls() ? accounting.compressed : accounting.forgotten) = rest;
  return accounting;
}

TokenAccounting AccountTokens(const MemoryKind& kind, const SessionShape& shape, int64_t total) {
  TokenAccounting accounting;
  const int64_t folded = FoldedAfter(shape, total);
  accounting.total = total;
  accounting.exact = total - folded;
  accounting.salient = std::min<int64_t>(folded, shape.salient);
  const int64_t rest = folded - accounting.salient;
  (kind.Recalls() ? accounting.compressed : accounting.forgotten) = rest;
  return accounting;
}

// Visits every live run of bytes in a fixed order: per layer, per KV head the rows of sinks, slots and window
// of the keys, then of the values; then features, the slots' features and positions, memory.
template <typename Visitor>
void SessionState::VisitLive(const SessionState& state, Visitor&& visit) {
  auto& self = const_cast<SessionState&>(state);
  const int heads = state.context_.config->num_kv_heads;
  for (int l = 0; l < state.context_.config->num_layers; ++l) {
    const LayerView view = self.Layer(l);
    const int64_t sinks = std::min<int64_t>(state.length_, view.shape.sinks);
    const int64_t window = state.length_ - view.folded - sinks;
    const int64_t salient = view.salient_count();
    for (const KvRows& rows : {view.keys, view.values}) {
      for (int g = 0; g < heads; ++g) {
        const int64_t first_row = g * view.shape.rows();
        visit(rows.at(first_row), sinks * rows.row_bytes());
        visit(rows.at(first_row + view.shape.sinks), salient * rows.row_bytes());
        visit(rows.at(first_row + view.window_row()), window * rows.row_bytes());
      }
    }
    const int64_t features = view.local() ? 0 : state.kind().TokenFeatures();
    visit(view.features, window * heads * features * sizeof(float));
    for (int g = 0; g < heads; ++g) {
      visit(view.salient_features + g * view.shape.salient * features, salient * features * sizeof(float));
      visit(view.salient_positions + int64_t{g} * view.shape.salient, salient * sizeof(int64_t));
    }
    visit(view.memory.data(), view.memory.size() * sizeof(float));
  }
}

void SessionState::AppendLive(std::string& out) const {
  VisitLive(*this,
            [&out](const void* data, size_t bytes) { out.append(static_cast<const char*>(data), bytes); });
}

int64_t SessionState::LiveBytes(const SessionContext& context, const SessionShape& shape, int64_t length) {
  const int64_t heads = context.config->num_kv_heads;
  const int64_t row_bytes = KvRowBytes(context.kv_format, context.config->head_dim);
  int64_t bytes = 0;
  for (int layer = 0; layer < context.config->num_layers; ++layer) {
    const Layout layout(context, shape, layer);
    const int64_t folded = FoldedAfter(layout.shape, length);
    const int64_t sinks = std::min<int64_t>(length, layout.shape.sinks);
    const int64_t salient = std::min<int64_t>(folded, layout.shape.salient);
    const int64_t window = length - folded - sinks;
    const int64_t floats = heads * (salient + window) * layout.features + layout.memory_floats;
    bytes += heads * (2 * (sinks + salient + window) * row_bytes + salient * int64_t{sizeof(int64_t)}) +
             floats * int64_t{sizeof(float)};
  }
  return bytes;
}

absl::Status SessionState::RestoreLive(int64_t length, std::string_view live) {
  Clear();
  const int64_t expected = LiveBytes(context_, shape_, length);
  if (static_cast<int64_t>(live.size()) != expected) {
    return absl::InvalidArgumentError(
        Concat("a session of ", length, " tokens has ", expected, " bytes of state, not ", live.size()));
  }
  length_ = length;
  prepared_ = std::max<int64_t>(0, length - 1);
  VisitLive(*this, [&live](void* data, size_t bytes) {
    if (bytes == 0) return;  // `live` may be a null view
    std::memcpy(data, live.data(), bytes);
    live.remove_prefix(bytes);
  });
  absl::Status status = CheckSlots();
  if (!status.ok()) Clear();
  return status;
}

// Each slot of a KV head holds another of the tokens that left the window.
absl::Status SessionState::CheckSlots() {
  for (int l = 0; l < context_.config->num_layers; ++l) {
    const LayerView view = Layer(l);
    for (int g = 0; g < context_.config->num_kv_heads; ++g) {
      const int64_t* slots = view.salient_positions + int64_t{g} * view.shape.salient;
      std::vector<int64_t> positions(slots, slots + view.salient_count());
      std::sort(positions.begin(), positions.end());
      for (size_t e = 0; e < positions.size(); ++e) {
        if (positions[e] < shape_.sinks || positions[e] >= shape_.sinks + view.folded) {
          return absl::InvalidArgumentError(Concat("salient slot at impossible position ", positions[e]));
        }
        if (e > 0 && positions[e] == positions[e - 1]) {
          return absl::InvalidArgumentError(Concat("position ", positions[e], " in two salient slots"));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace memgate
