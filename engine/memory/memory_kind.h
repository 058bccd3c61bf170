// What a session does with tokens that leave its window. A kind = feature map x update rule x combination
// (docs/design.md, "Memory kinds"). Adding one touches this folder only (CONTRIBUTING.md).
#ifndef MEMGATE_ENGINE_MEMORY_MEMORY_KIND_H_
#define MEMGATE_ENGINE_MEMORY_MEMORY_KIND_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "engine/checkpoint/model_config.h"
#include "engine/kernels/rope.h"

namespace memgate {

// Tokens of one KV head that are held exactly no longer: they left the window and have no salient slot (or,
// for CompleteFeatures, have yet to compete for one).
struct EvictedTokens {
  int kv_head = 0;
  int tokens = 0;
  const int64_t* positions = nullptr;  // [tokens], ascending
  const float* keys = nullptr;         // [tokens, D], not rotated
  const float* values = nullptr;       // [tokens, D]
  const float* features = nullptr;     // [tokens, TokenFeatures()], as computed when the token entered
  const Rope* rope = nullptr;          // for kinds that hold rotated keys
};

// Tokens of one chunk that ask the memory. All see the same state: it changes between chunks only.
struct MemoryQuery {
  int tokens = 0;
  const float* queries = nullptr;      // [tokens, H, D], not rotated
  int64_t query_stride = 0;            // floats from one token's queries to the next one's
  const float* layer_input = nullptr;  // [tokens, C], after the input RMSNorm
  const float* angles = nullptr;       // [tokens, D], Rope::Angles of each token's position
  int64_t written = 0;                 // tokens that the memory has absorbed, the same for every KV head
};

// Stateless and constant after construction: thread-safe. The state of a session lives in the session
// (engine/session/session_state.h) and is passed in; all of it is f32 and starts at zero.
class MemoryKind {
 public:
  // `name` as in MemoryKindTable(), or of a variant.
  explicit MemoryKind(std::string_view name) : name_(name) {}
  virtual ~MemoryKind() = default;

  std::string_view name() const { return name_; }
  // For modules that name themselves: before anything else uses the kind.
  void Rename(std::string_view name) { name_ = name; }

  // Whether trained weights stand behind it (true for kinds that need none).
  virtual bool trained() const { return true; }

  // Floats of compressive state per layer; 0 = tokens that leave are not held in any form.
  virtual int64_t StateFloats() const { return 0; }
  // Whether queries read that state (Combine). If not, it serves the scores alone, and what was written to it
  // counts as forgotten.
  virtual bool Recalls() const { return StateFloats() > 0; }

  // Floats that the layer computes per token and KV head when the token enters the session. They stay with it
  // in the window and in a salient slot, and go to Write with it.
  virtual int TokenFeatures() const { return 0; }
  // layer_input: [tokens, C] after the input RMSNorm. features: [tokens, G, TokenFeatures()].
  virtual void ComputeFeatures(int /*layer*/, const float* /*layer_input*/, int /*tokens*/,
                               float* /*features*/) const {}

  // Completes features that depend on what the memory holds, as tokens leave the window: before they compete
  // for slots, and before anything of their segment is written. `features` [tokens, TokenFeatures()] is the
  // array behind leaving.features.
  virtual void CompleteFeatures(int /*layer*/, const EvictedTokens& /*leaving*/,
                                absl::Span<const float> /*state*/, float* /*features*/) const {}

  // Whether feature 0 is the retention score, by which tokens compete for salient slots.
  virtual bool HasRetention() const { return false; }

  // Whether sinks and salient tokens sit at the far distance once something was folded (docs/design.md). If
  // not, sinks stay at their true positions. Always true for a kind with retention.
  virtual bool ClampsFarTokens() const { return true; }

  // Per query head, what weighs the memory against local attention in `layer` [H]; empty if there is no such
  // number. For reports.
  virtual std::vector<float> Gates(int /*layer*/) const { return {}; }

  // Absorbs tokens into `state` [StateFloats()], of which KV head g owns the g-th of G equal parts.
  virtual void Write(int /*layer*/, const EvictedTokens& /*evicted*/, absl::Span<float> /*state*/) const {}

  // Turns local attention [tokens, H, D] into the layer's attention output, in place. Called only if the kind
  // Recalls() and something was written: with an empty memory every kind is the identity.
  virtual void Combine(int /*layer*/, const MemoryQuery& /*query*/, absl::Span<const float> /*state*/,
                       float* /*attention*/) const {}

 private:
  std::string name_;
};

// Sinks and window only; what leaves the window is forgotten, and reported as such.
std::unique_ptr<MemoryKind> MakeWindowKind();

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_MEMORY_KIND_H_
