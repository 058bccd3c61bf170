// The state of one conversation: sinks, salient slots, window and compressive memory, of a fixed size.
#ifndef MEMGATE_ENGINE_SESSION_SESSION_STATE_H_
#define MEMGATE_ENGINE_SESSION_SESSION_STATE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/checkpoint/model_config.h"
#include "engine/kernels/kv_rows.h"
#include "engine/memory/memory_kind.h"
#include "engine/session/layer_ropes.h"
#include "engine/session/shape.h"

namespace memgate {

// What every session of a kind shares. Borrowed; must outlive the session.
struct SessionContext {
  const ModelConfig* config = nullptr;
  const MemoryKind* kind = nullptr;
  const LayerRopes* ropes = nullptr;
  KvFormat kv_format = KvFormat::kF32;
};

// A retention score as tokens compete by it: one that is not a number never wins a slot.
inline float ComparableScore(float score) {
  return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
}

// One layer of a session. Keys and values: [G, rows] rows of D numbers in the session's format, rows = [S
// sinks | E salient slots | W + P window] of the layer's own shape. Window keys are rotated by their absolute
// position. Sinks are too, until the session is clamped(); sinks and salient keys are un-rotated from then
// on, and the query is rotated by the far distance for them. A value is rounded to the format once, when it
// enters; a key once more when it is rotated back. f = MemoryKind::TokenFeatures().
//
// A layer of a model whose own window is shorter than the session is local: it holds that window, and neither
// sinks, slots, features nor memory (docs/design.md, "Layers with a window of their own").
struct LayerView {
  SessionShape shape;        // the session's, or OfLocalLayer
  int64_t folded = 0;        // tokens that left this layer's window
  int64_t local_window = 0;  // the last tokens that a query sees; 0 = the layer is not local
  KvRows keys;
  KvRows values;
  float* features = nullptr;             // [W + P, G, f], of the window's tokens
  float* salient_features = nullptr;     // [G, E, f], of the slots' tokens; feature 0 is the score
  int64_t* salient_positions = nullptr;  // [G, E]
  absl::Span<float> memory;              // the kind's state

  bool local() const { return local_window > 0; }
  int salient_count() const { return static_cast<int>(std::min<int64_t>(folded, shape.salient)); }
  int window_row() const { return shape.sinks + shape.salient; }  // first row of the window
  // Row of `position`, which must be a sink or in the window.
  int Row(int64_t position) const {
    return static_cast<int>(position < shape.sinks ? position : position - folded + shape.salient);
  }
};

// Bytes of one session, by part. All but `object` lie in one allocation.
struct SessionBytes {
  int64_t key_value = 0;
  int64_t features = 0;
  int64_t salient = 0;  // features and positions, and up to 7 bytes of padding per layer
  int64_t memory = 0;
  int64_t object = 0;  // the SessionState itself
  int64_t arena() const { return key_value + features + salient + memory; }
  int64_t total() const { return arena() + object; }
};

// Not thread-safe: one turn at a time.
class SessionState {
 public:
  // What a session will cost, before it is created; exact to the byte.
  static SessionBytes Bytes(const SessionContext& context, const SessionShape& shape);

  // Allocates Bytes().arena() bytes, zeroed, from `resource`. REQUIRES: shape is valid, and has no salient
  // slots unless the kind has a retention score.
  SessionState(const SessionContext& context, const SessionShape& shape, std::pmr::memory_resource* resource);
  ~SessionState();
  SessionState(const SessionState&) = delete;
  SessionState& operator=(const SessionState&) = delete;

  const SessionShape& shape() const { return shape_; }
  const SessionContext& context() const { return context_; }
  const MemoryKind& kind() const { return *context_.kind; }

  int64_t length() const { return length_; }  // tokens taken in
  // Of the layers that are not local:
  int64_t folded() const { return shape_.FoldedAt(prepared_); }        // tokens that left the window
  int64_t memory_writes() const { return folded() / shape_.segment; }  // folding events
  int sink_count() const { return static_cast<int>(std::min<int64_t>(length_, shape_.sinks)); }
  int salient_count() const { return static_cast<int>(std::min<int64_t>(folded(), shape_.salient)); }
  // Tokens per layer and KV head that the window let go and no slot holds: the kind's memory has absorbed
  // them, or they are forgotten.
  int64_t written() const { return folded() - salient_count(); }
  // Whether sinks and salient tokens sit at the far distance now.
  bool clamped() const { return folded() > 0 && kind().ClampsFarTokens(); }

  // The rotation of the layers that have ModelConfig::ropes[index].
  const Rope& rope(int index) const { return context_.ropes->At(index, shape_.exact_capacity()); }
  // Tokens that can be appended before the next fold of any layer is due; at least 1.
  int64_t TokensUntilFold() const;

  LayerView Layer(int layer);

  // Makes room for `tokens` tokens at length(): folds the oldest segment of each layer where it is due. After
  // it, the layers of those tokens are written at LayerView::Row(length() + i), then Commit() takes them in.
  // REQUIRES: 1 <= tokens <= TokensUntilFold().
  void Prepare(int64_t tokens);
  void Commit(int64_t tokens) { length_ += tokens; }

  // Whether what was folded is what length() asks for; not so after a step that failed between Prepare and
  // Commit, until the next one.
  bool settled() const;

  // Forgets everything.
  void Clear();
  // Same shape and context: becomes an equal session.
  void CopyFrom(const SessionState& other);

  // `pending`: 1 if a token was sampled that is not taken in yet, else 0.
  TokenAccounting Accounting(int pending) const;

  // The live part of the state (docs/formats.md); appends it to `out`.
  void AppendLive(std::string& out) const;
  // Bytes that AppendLive writes for a session of this shape and length.
  static int64_t LiveBytes(const SessionContext& context, const SessionShape& shape, int64_t length);
  // The inverse, into a cleared session. INVALID_ARGUMENT if `live` has the wrong size, or if a slot's
  // position is impossible or that of another slot of its KV head; the session is then cleared.
  absl::Status RestoreLive(int64_t length, std::string_view live);

 private:
  struct Layout;
  struct TokenRows;

  template <typename Visitor>
  void VisitShapes(const Visitor& visit) const;
  std::vector<float> LeavingAngles() const;
  void FoldLayer(int layer, absl::Span<const float> angles);
  void FoldHead(int layer, int kv_head, const LayerView& view, const float* angles) const;
  void RotateBackSinks(int layer, int kv_head, const LayerView& view) const;
  TokenRows Segment(const LayerView& view, int kv_head, const float* angles) const;
  TokenRows ExchangeSalient(const LayerView& view, int kv_head, TokenRows segment) const;
  EvictedTokens Evicted(int layer, int kv_head, const TokenRows& tokens) const;  // borrows
  absl::Status CheckSlots();
  template <typename Visitor>
  static void VisitLive(const SessionState& state, Visitor&& visit);

  const SessionContext context_;
  const SessionShape shape_;
  std::pmr::memory_resource* const resource_;
  const size_t arena_bytes_;
  std::byte* const arena_;
  int64_t length_ = 0;
  int64_t prepared_ = 0;  // the length for which all layers were folded
};

// How a session of `kind` and `shape` holds `total` tokens that were all taken in.
TokenAccounting AccountTokens(const MemoryKind& kind, const SessionShape& shape, int64_t total);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SESSION_SESSION_STATE_H_
