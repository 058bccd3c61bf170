// What a session does with tokens that leave its window. A kind = feature map x update rule x combination
// (docs/design.md, "Memory kinds"). Adding one touches this folder only (CONTRIBUTING.md).
#ifndef MEMGATE_ENGINE_MEMORY_MEMORY_KIND_H_
#define MEMGATE_ENGINE_MEMORY_MEMORY_KIND_H_

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/types/span.h"
#include "engine/checkpoint/model_config.h"

namespace memgate {

// Tokens of one KV head that leave the exact part, oldest first.
struct EvictedTokens {
  int kv_head = 0;
  int tokens = 0;
  const float* keys = nullptr;    // [tokens, D], not rotated
  const float* values = nullptr;  // [tokens, D]
};

// Tokens of one chunk that ask the memory. All see the same state: it changes between chunks only.
struct MemoryQuery {
  int tokens = 0;
  const float* queries = nullptr;      // [tokens, H, D], not rotated
  int64_t query_stride = 0;            // floats from one token's queries to the next one's
  const float* layer_input = nullptr;  // [tokens, C], after the input RMSNorm
};

// Stateless and constant after construction: thread-safe. The state of a session lives in the session
// (engine/session/session_state.h) and is passed in; all of it is f32 and starts at zero.
class MemoryKind {
 public:
  virtual ~MemoryKind() = default;

  virtual std::string_view name() const = 0;
  // Whether trained weights stand behind it (true for kinds that need none).
  virtual bool trained() const { return true; }

  // Floats of compressive state per layer; 0 = tokens that leave are not held in any form.
  virtual int64_t StateFloats() const { return 0; }

  // Floats that the layer computes per token when it enters the session and keeps until it leaves the window.
  virtual int TokenFeatures() const { return 0; }
  // layer_input: [tokens, C] after the input RMSNorm. features: [tokens, TokenFeatures()].
  virtual void ComputeFeatures(int /*layer*/, const float* /*layer_input*/, int /*tokens*/,
                               float* /*features*/) const {}

  // Whether features[g] is the retention score of KV head g, by which tokens compete for salient slots.
  virtual bool HasRetention() const { return false; }

  // Absorbs tokens into `state` [StateFloats()].
  virtual void Write(int /*layer*/, const EvictedTokens& /*evicted*/, absl::Span<float> /*state*/) const {}

  // Turns local attention [tokens, H, D] into the layer's attention output, in place. Called only once
  // something was written: with an empty memory every kind is the identity.
  virtual void Combine(int /*layer*/, const MemoryQuery& /*query*/, absl::Span<const float> /*state*/,
                       float* /*attention*/) const {}
};

// Sinks and window only; what leaves the window is forgotten, and reported as such.
std::unique_ptr<MemoryKind> MakeWindowKind();

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_MEMORY_KIND_H_
