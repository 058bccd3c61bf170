#include "engine/session/session_state.h"

#include <algorithm>
#include <cstring>
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

// Sizes of the parts of one layer.
struct SessionState::Layout {
  int64_t key_bytes;  // keys (or values) of all KV heads
  int64_t feature_floats;
  int64_t salient;  // slots of all KV heads
  int64_t salient_floats;
  int64_t memory_floats;

  Layout(const SessionContext& context, const SessionShape& shape)
      : key_bytes(shape.rows() * context.config->num_kv_heads *
                  KvRowBytes(context.kv_format, context.config->head_dim)),
        feature_floats((int64_t{shape.window} + shape.segment) * context.config->num_kv_heads *
                       context.kind->TokenFeatures()),
        salient(int64_t{shape.salient} * context.config->num_kv_heads),
        salient_floats(salient * context.kind->TokenFeatures()),
        memory_floats(context.kind->StateFloats()) {}

  // In order of alignment: positions, floats, rows; padded for the next layer's positions.
  int64_t bytes() const {
    constexpr int64_t kAlignment = sizeof(int64_t);
    const int64_t floats = feature_floats + salient_floats + memory_floats;
    const int64_t used = salient * int64_t{sizeof(int64_t)} + floats * int64_t{sizeof(float)} + 2 * key_bytes;
    return (used + kAlignment - 1) / kAlignment * kAlignment;
  }
};

SessionBytes SessionState::Bytes(const SessionContext& context, const SessionShape& shape) {
  const Layout layout(context, shape);
  const int64_t layers = context.config->num_layers;
  SessionBytes bytes;
  bytes.key_value = layers * 2 * layout.key_bytes;
  bytes.features = layers * layout.feature_floats * int64_t{sizeof(float)};
  bytes.memory = layers * layout.memory_floats * int64_t{sizeof(float)};
  // With the padding of the layer block.
  bytes.salient = layers * layout.bytes() - bytes.key_value - bytes.features - bytes.memory;
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
  const Layout layout(context_, shape_);
  std::byte* base = arena_ + layer * layout.bytes();
  const int dim = context_.config->head_dim;
  LayerView view;
  view.salient_positions = reinterpret_cast<int64_t*>(base);
  view.features = reinterpret_cast<float*>(view.salient_positions + layout.salient);
  view.salient_features = view.features + layout.feature_floats;
  view.memory = absl::MakeSpan(view.salient_features + layout.salient_floats, layout.memory_floats);
  auto* keys = reinterpret_cast<std::byte*>(view.memory.data() + layout.memory_floats);
  view.keys = KvRows(context_.kv_format, dim, keys);
  view.values = KvRows(context_.kv_format, dim, keys + layout.key_bytes);
  return view;
}

void SessionState::Prepare(int64_t /*tokens*/) {
  const int64_t target = shape_.FoldedAt(length_);
  if (folded_ == target) return;
  const ModelConfig& config = *context_.config;
  std::vector<float> angles(static_cast<size_t>(shape_.segment) * config.head_dim);
  // A fold moves the whole window and, for most kinds, writes each token into a matrix of D columns.
  const int64_t operations =
      config.num_kv_heads * (shape_.rows() * config.head_dim) + shape_.segment * context_.kind->StateFloats();
  while (folded_ < target) {
    for (int t = 0; t < shape_.segment; ++t) {
      context_.rope->Angles(shape_.sinks + folded_ + t, &angles[static_cast<size_t>(t) * config.head_dim]);
    }
    ParallelFor(config.num_layers, LeastItems(operations), [&](int64_t begin, int64_t end, int) {
      for (int64_t layer = begin; layer < end; ++layer) FoldLayer(static_cast<int>(layer), angles.data());
    });
    folded_ += shape_.segment;
  }
}

// angles: [P, D], of the tokens that leave.
void SessionState::FoldLayer(int layer, const float* angles) {
  const int dim = context_.config->head_dim;
  const LayerView view = Layer(layer);
  const bool first_fold = folded_ == 0;
  std::vector<float> cos_sin(dim), key(dim);
  for (int g = 0; g < context_.config->num_kv_heads; ++g) {
    const int64_t first_row = g * shape_.rows();
    for (int64_t p = 0; first_fold && kind().ClampsFarTokens() && p < shape_.sinks; ++p) {
      context_.rope->Angles(p, cos_sin.data());
      view.keys.Load(first_row + p, 1, key.data());
      RotateBack(cos_sin.data(), dim, key.data(), key.data());
      view.keys.Store(first_row + p, key.data());
    }
    if (shape_.salient > 0 || kind().StateFloats() > 0) {
      TokenRows leaving = Segment(view, g, angles);
      kind().CompleteFeatures(layer, Evicted(g, leaving), view.memory, leaving.features.data());
      if (shape_.salient > 0) leaving = ExchangeSalient(view, g, std::move(leaving));
      if (kind().StateFloats() > 0) Write(layer, g, leaving, view.memory);
    }
    const int64_t window = first_row + window_row();
    for (const KvRows& rows : {view.keys, view.values}) {
      rows.Move(window + shape_.segment, window, shape_.window);
    }
  }
  const int64_t features = int64_t{context_.config->num_kv_heads} * kind().TokenFeatures();
  std::memmove(view.features, view.features + shape_.segment * features,
               static_cast<size_t>(shape_.window) * features * sizeof(float));
}

void SessionState::Write(int layer, int kv_head, const TokenRows& tokens, absl::Span<float> memory) const {
  if (!tokens.positions.empty()) kind().Write(layer, Evicted(kv_head, tokens), memory);
}

EvictedTokens SessionState::Evicted(int kv_head, const TokenRows& tokens) const {
  return {.kv_head = kv_head,
          .tokens = tokens.size(),
          .positions = tokens.positions.data(),
          .keys = tokens.keys.data(),
          .values = tokens.values.data(),
          .features = tokens.features.data(),
          .rope = context_.rope};
}

// The P oldest tokens of the window.
SessionState::TokenRows SessionState::Segment(const LayerView& view, int kv_head, const float* angles) const {
  const int dim = context_.config->head_dim;
  const int features = kind().TokenFeatures();
  const int64_t row = kv_head * shape_.rows() + window_row();
  TokenRows segment(dim, features, shape_.segment);
  std::vector<float> key(dim), value(dim);
  for (int t = 0; t < shape_.segment; ++t) {
    view.keys.Load(row + t, 1, key.data());
    RotateBack(angles + int64_t{t} * dim, dim, key.data(), key.data());
    view.values.Load(row + t, 1, value.data());
    segment.Append(shape_.sinks + folded_ + t, key.data(), value.data(),
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
  const int64_t window = kv_head * shape_.rows() + window_row();
  const int64_t first_slot = kv_head * shape_.rows() + shape_.sinks;
  float* slot_features = view.salient_features + int64_t{kv_head} * shape_.salient * features;
  int64_t* slot_positions = view.salient_positions + int64_t{kv_head} * shape_.salient;

  // Candidates: the used slots, then the segment's tokens.
  struct Candidate {
    float score;
    int64_t position;
    int index;
  };
  const int used = salient_count();
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
  folded_ = 0;
}

void SessionState::CopyFrom(const SessionState& other) {
  std::memcpy(arena_, other.arena_, arena_bytes_);
  length_ = other.length_;
  folded_ = other.folded_;
}

TokenAccounting SessionState::Accounting(int pending) const {
  TokenAccounting accounting;
  accounting.total = length_ + pending;
  accounting.exact = length_ - folded_ + pending;
  accounting.salient = salient_count();
  const int64_t rest = folded_ - accounting.salient;
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
  const SessionShape& shape = state.shape_;
  const int heads = state.context_.config->num_kv_heads;
  const int64_t window = state.length_ - state.folded_ - state.sink_count();
  const int salient = state.salient_count();
  for (int l = 0; l < state.context_.config->num_layers; ++l) {
    const LayerView view = self.Layer(l);
    for (const KvRows& rows : {view.keys, view.values}) {
      for (int g = 0; g < heads; ++g) {
        const int64_t first_row = g * shape.rows();
        visit(rows.at(first_row), state.sink_count() * rows.row_bytes());
        visit(rows.at(first_row + shape.sinks), salient * rows.row_bytes());
        visit(rows.at(first_row + state.window_row()), window * rows.row_bytes());
      }
    }
    const int features = state.kind().TokenFeatures();
    visit(view.features, window * heads * features * sizeof(float));
    for (int g = 0; g < heads; ++g) {
      visit(view.salient_features + int64_t{g} * shape.salient * features,
            int64_t{salient} * features * sizeof(float));
      visit(view.salient_positions + int64_t{g} * shape.salient, salient * sizeof(int64_t));
    }
    visit(view.memory.data(), view.memory.size() * sizeof(float));
  }
}

void SessionState::AppendLive(std::string& out) const {
  VisitLive(*this,
            [&out](const void* data, size_t bytes) { out.append(static_cast<const char*>(data), bytes); });
}

int64_t SessionState::LiveBytes(const SessionContext& context, const SessionShape& shape, int64_t length) {
  const int64_t folded = FoldedAfter(shape, length);
  const int64_t sinks = std::min<int64_t>(length, shape.sinks);
  const int64_t salient = std::min<int64_t>(folded, shape.salient);
  const int64_t window = length - folded - sinks;
  const int64_t heads = context.config->num_kv_heads;
  const int64_t row_bytes = KvRowBytes(context.kv_format, context.config->head_dim);
  const int64_t floats =
      heads * (salient + window) * context.kind->TokenFeatures() + context.kind->StateFloats();
  return context.config->num_layers *
         (heads * (2 * (sinks + salient + window) * row_bytes + salient * int64_t{sizeof(int64_t)}) +
          floats * int64_t{sizeof(float)});
}

absl::Status SessionState::RestoreLive(int64_t length, std::string_view live) {
  Clear();
  const int64_t expected = LiveBytes(context_, shape_, length);
  if (static_cast<int64_t>(live.size()) != expected) {
    return absl::InvalidArgumentError(
        Concat("a session of ", length, " tokens has ", expected, " bytes of state, not ", live.size()));
  }
  length_ = length;
  folded_ = FoldedAfter(shape_, length);
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
    for (int g = 0; g < context_.config->num_kv_heads; ++g) {
      const int64_t* slots = Layer(l).salient_positions + int64_t{g} * shape_.salient;
      std::vector<int64_t> positions(slots, slots + salient_count());
      std::sort(positions.begin(), positions.end());
      for (size_t e = 0; e < positions.size(); ++e) {
        if (positions[e] < shape_.sinks || positions[e] >= shape_.sinks + folded_) {
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
