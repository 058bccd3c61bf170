// The fixed geometry of a session and the arithmetic that follows from it.
#ifndef MEMGATE_ENGINE_SESSION_SHAPE_H_
#define MEMGATE_ENGINE_SESSION_SHAPE_H_

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"

namespace memgate {

// S, W, P and E of docs/design.md. Unit: tokens.
struct SessionShape {
  int32_t sinks = 4;     // S: first tokens, always kept
  int32_t window = 256;  // W: recent tokens, always kept
  int32_t segment = 64;  // P: tokens folded at once
  int32_t salient = 0;   // E: salient slots per layer and KV head

  // Holds `tokens` tokens, at least 1, and never folds them.
  static SessionShape Exact(int64_t tokens) {
    const int64_t window = std::max<int64_t>(1, tokens - 256);  // of what is left only local layers fold
    const int64_t segment = std::max<int64_t>(1, tokens - window);
    return {0, static_cast<int32_t>(window), static_cast<int32_t>(segment), 0};
  }

  // Tokens that fit before anything is folded: the exact limit of a session.
  int64_t exact_capacity() const { return int64_t{sinks} + window + segment; }
  // Rows of the key and value stores, per layer and KV head.
  int64_t rows() const { return exact_capacity() + salient; }
  // Distance at which far tokens (sinks and salient) sit once something was folded: just behind the longest
  // window.
  int64_t far_distance() const { return int64_t{window} + segment; }

  // Tokens folded away by the time the token at `position` is processed. A pure function of the position, so
  // that neither the route nor the chunking of the input changes what a session holds:
  // P * max(0, floor((position - S - W) / P)).
  int64_t FoldedAt(int64_t position) const {
    return std::max<int64_t>(0, (position - sinks - window) / segment) * segment;
  }
  // Tokens that can be appended at `position` before the next fold is due; at least 1.
  int64_t TokensUntilFold(int64_t position) const {
    const int64_t folded = FoldedAt(position);
    const int64_t next_fold = sinks + window + folded + segment;
    return next_fold - position;
  }

  // What a layer holds that sees only the last `layer_window` tokens, its query's own included: no sinks, no
  // slots, and whole segments less than this shape, as many as leave that window whole after every fold. So
  // it folds where this shape does, and earlier. REQUIRES: 1 <= layer_window < exact_capacity().
  SessionShape OfLocalLayer(int64_t layer_window) const {
    const int64_t held = int64_t{sinks} + window;
    const int64_t spare = std::max<int64_t>(0, held - (layer_window - 1)) / segment * segment;
    return {.sinks = 0, .window = static_cast<int32_t>(held - spare), .segment = segment, .salient = 0};
  }

  // INVALID_ARGUMENT "field: why" outside the limits of memgate.v1.MemoryShape.
  absl::Status Validate() const;

  friend bool operator==(const SessionShape&, const SessionShape&) = default;
};

// How the tokens of a session are held; the four parts add up to `total`. Unit: tokens.
struct TokenAccounting {
  int64_t total = 0;
  int64_t exact = 0;       // sinks and window
  int64_t salient = 0;     // salient slots, per layer and KV head
  int64_t compressed = 0;  // in the compressive memory
  int64_t forgotten = 0;   // held in no form
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SESSION_SHAPE_H_
