#include "engine/session/session_state.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "engine/base/strings.h"
#include "engine/kernels/parallel.h"

namespace memgate {
namespace {

constexpr size_t kArenaAlignment = 64;

int64_t FoldedAfter(const SessionShape& shape, int64_t length) {
  return length > 0 ? shape.FoldedAt(length - 1) : 0;
}

// A score that is not a number never wins a slot.
float Comparable(float score) { return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score; }

}  // namespace

// Element counts of one layer.
struct SessionState::Layout {
  int64_t head_floats;  // keys (or values) of one KV head
  int64_t key_floats;   // keys (or values) of all KV heads
  int64_t feature_floats;
  int64_t salient;  // slots of all KV heads
  int64_t memory_floats;

  Layout(const SessionContext& context, const SessionShape& shape)
      : head_floats(shape.rows() * context.config->head_dim),
        key_floats(head_floats * context.config->num_kv_heads),
        feature_floats((int64_t{shape.window} + shape.segment) * context.kind->TokenFeatures()),
        salient(int64_t{shape.salient} * context.config->num_kv_heads),
        memory_floats(context.kind->StateFloats()) {}

  // Positions first, so that they are aligned; padded for the next layer's.
  int64_t bytes() const {
    const int64_t floats = 2 * key_floats + feature_floats + salient + memory_floats;
    return salient * int64_t{sizeof(int64_t)} + (floats + floats % 2) * int64_t{sizeof(float)};
  }
};

SessionBytes SessionState::Bytes(const SessionContext& context, const SessionShape& shape) {
  const Layout layout(context, shape);
  const int64_t layers = context.config->num_layers;
  SessionBytes bytes;
  bytes.key_value = layers * 2 * layout.key_floats * int64_t{sizeof(float)};
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
  LayerView view;
  view.salient_positions = reinterpret_cast<int64_t*>(base);
  float* floats = reinterpret_cast<float*>(view.salient_positions + layout.salient);
  view.keys = floats;
  view.values = view.keys + layout.key_floats;
  view.features = view.values + layout.key_floats;
  view.salient_scores = view.features + layout.feature_floats;
  view.memory = absl::MakeSpan(view.salient_scores + layout.salient, layout.memory_floats);
  return view;
}

void SessionState::Prepare(int64_t /*tokens*/) {
  const int64_t target = shape_.FoldedAt(length_);
  while (folded_ < target) {
    ParallelFor(context_.config->num_layers, 1, [this](int64_t begin, int64_t end, int) {
      for (int64_t layer = begin; layer < end; ++layer) FoldLayer(static_cast<int>(layer));
    });
    folded_ += shape_.segment;
  }
}

void SessionState::FoldLayer(int layer) {
  const int dim = context_.config->head_dim;
  const int64_t head_floats = shape_.rows() * dim;
  const int segment = shape_.segment;
  const LayerView view = Layer(layer);
  std::vector<float> cos_sin(dim);
  std::vector<float> keys(static_cast<size_t>(segment) * dim);

  for (int g = 0; g < context_.config->num_kv_heads; ++g) {
    float* head_keys = view.keys + g * head_floats;
    float* head_values = view.values + g * head_floats;
    if (folded_ == 0) {
      for (int p = 0; p < shape_.sinks; ++p) {
        context_.rope->Angles(p, cos_sin.data());
        RotateBack(cos_sin.data(), dim, head_keys + p * dim, head_keys + p * dim);
      }
    }
    float* window_keys = head_keys + int64_t{window_row()} * dim;
    float* window_values = head_values + int64_t{window_row()} * dim;
    for (int t = 0; t < segment; ++t) {
      context_.rope->Angles(shape_.sinks + folded_ + t, cos_sin.data());
      RotateBack(cos_sin.data(), dim, window_keys + t * dim, &keys[t * dim]);
    }
    if (shape_.salient > 0) {
      KeepSalient(view, g, keys.data(), window_values);
    } else if (context_.kind->StateFloats() > 0) {
      context_.kind->Write(layer, {g, segment, keys.data(), window_values}, view.memory);
    }
    const size_t kept_bytes = static_cast<size_t>(shape_.window) * dim * sizeof(float);
    std::memmove(window_keys, window_keys + segment * dim, kept_bytes);
    std::memmove(window_values, window_values + segment * dim, kept_bytes);
  }
  const int features = context_.kind->TokenFeatures();
  std::memmove(view.features, view.features + segment * features,
               static_cast<size_t>(shape_.window) * features * sizeof(float));
}

// Streaming top-E by retention score; on equal scores the older token stays.
void SessionState::KeepSalient(const LayerView& view, int kv_head, float* keys, float* values) {
  const int dim = context_.config->head_dim;
  const int features = context_.kind->TokenFeatures();
  const int64_t head_floats = shape_.rows() * dim;
  float* slot_keys = view.keys + kv_head * head_floats + int64_t{shape_.sinks} * dim;
  float* slot_values = view.values + kv_head * head_floats + int64_t{shape_.sinks} * dim;
  float* scores = view.salient_scores + int64_t{kv_head} * shape_.salient;
  int64_t* positions = view.salient_positions + int64_t{kv_head} * shape_.salient;
  // The slots as a heap with the next one to go on top: the lowest score, on equal scores the youngest.
  const auto stays = [&](int a, int b) {
    const float sa = Comparable(scores[a]), sb = Comparable(scores[b]);
    return sa != sb ? sa > sb : positions[a] < positions[b];
  };
  std::vector<int> heap(salient_count());
  std::iota(heap.begin(), heap.end(), 0);
  std::make_heap(heap.begin(), heap.end(), stays);
  for (int t = 0; t < shape_.segment; ++t) {
    const float score = Comparable(view.features[t * features + kv_head]);
    if (static_cast<int>(heap.size()) < shape_.salient) {
      heap.push_back(static_cast<int>(heap.size()));
    } else {
      if (score <= Comparable(scores[heap.front()])) continue;
      std::pop_heap(heap.begin(), heap.end(), stays);
    }
    const int slot = heap.back();
    scores[slot] = score;
    positions[slot] = shape_.sinks + folded_ + t;
    std::copy_n(keys + t * dim, dim, slot_keys + slot * dim);
    std::copy_n(values + t * dim, dim, slot_values + slot * dim);
    std::push_heap(heap.begin(), heap.end(), stays);
  }
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
  (kind().StateFloats() > 0 ? accounting.compressed : accounting.forgotten) = rest;
  return accounting;
}

TokenAccounting AccountTokens(const MemoryKind& kind, const SessionShape& shape, int64_t total) {
  TokenAccounting accounting;
  const int64_t folded = FoldedAfter(shape, total);
  accounting.total = total;
  accounting.exact = total - folded;
  accounting.salient = std::min<int64_t>(folded, shape.salient);
  const int64_t rest = folded - accounting.salient;
  (kind.StateFloats() > 0 ? accounting.compressed : accounting.forgotten) = rest;
  return accounting;
}

// Visits every live run of bytes in a fixed order: per layer, per KV head the rows of sinks, slots and window
// of the keys, then of the values; then features, scores, positions, memory.
template <typename Visitor>
void SessionState::VisitLive(const SessionState& state, Visitor&& visit) {
  auto& self = const_cast<SessionState&>(state);
  const SessionShape& shape = state.shape_;
  const int dim = state.context_.config->head_dim;
  const int heads = state.context_.config->num_kv_heads;
  const int64_t head_floats = shape.rows() * dim;
  const int64_t window = state.length_ - state.folded_ - state.sink_count();
  const int salient = state.salient_count();
  for (int l = 0; l < state.context_.config->num_layers; ++l) {
    const LayerView view = self.Layer(l);
    for (float* store : {view.keys, view.values}) {
      for (int g = 0; g < heads; ++g) {
        float* head = store + g * head_floats;
        visit(head, int64_t{state.sink_count()} * dim * sizeof(float));
        visit(head + int64_t{shape.sinks} * dim, int64_t{salient} * dim * sizeof(float));
        visit(head + int64_t{state.window_row()} * dim, window * dim * sizeof(float));
      }
    }
    visit(view.features, window * state.kind().TokenFeatures() * sizeof(float));
    for (int g = 0; g < heads; ++g) {
      visit(view.salient_scores + int64_t{g} * shape.salient, salient * sizeof(float));
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
  const int64_t floats = 2 * heads * (sinks + salient + window) * context.config->head_dim +
                         window * context.kind->TokenFeatures() + heads * salient +
                         context.kind->StateFloats();
  return context.config->num_layers *
         (floats * int64_t{sizeof(float)} + heads * salient * int64_t{sizeof(int64_t)});
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
  for (int l = 0; l < context_.config->num_layers; ++l) {
    const LayerView view = Layer(l);
    for (int g = 0; g < context_.config->num_kv_heads; ++g) {
      for (int e = 0; e < salient_count(); ++e) {
        const int64_t position = view.salient_positions[int64_t{g} * shape_.salient + e];
        if (position < shape_.sinks || position >= shape_.sinks + folded_) {
          Clear();
          return absl::InvalidArgumentError(Concat("salient slot at impossible position ", position));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace memgate
