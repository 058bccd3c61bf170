// Loads a model folder or file and runs token lists through sessions, for the tests of this folder.
#ifndef MEMGATE_TESTS_MODEL_RUNNING_MODEL_H_
#define MEMGATE_TESTS_MODEL_RUNNING_MODEL_H_

#include <cstdint>
#include <memory>
#include <memory_resource>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/memory/memory_kind.h"
#include "engine/model/transformer.h"
#include "engine/session/session_state.h"

namespace memgate {

// A loaded model with a work buffer. Aborts the test program if it does not load. Runs on one thread,
// because tiny models spend longer on handing work over than on doing it.
class RunningModel {
 public:
  explicit RunningModel(const std::string& path, int max_tokens = 64,
                        WeightFormat format = WeightFormat::kF32);

  const ModelConfig& config() const { return checkpoint_.config; }
  const TensorSource& tensors() const { return *checkpoint_.tensors; }
  const Transformer& transformer() const { return *transformer_; }
  std::string fingerprint() const;

  std::unique_ptr<SessionState> NewSession(const MemoryKind& kind, const SessionShape& shape,
                                           KvFormat kv_format = KvFormat::kF32) const;
  // A session that never folds within `tokens` tokens: the exact path.
  std::unique_ptr<SessionState> NewExactSession(int tokens, KvFormat kv_format = KvFormat::kF32) const;

  // One step; aborts if it fails. Logits [rows, V], copied.
  std::vector<float> Step(const std::vector<SequenceChunk>& batch);
  // Feeds `tokens` in chunks of at most `chunk_tokens`, cut where the session folds. Logits at every
  // position.
  std::vector<float> Feed(SessionState& session, absl::Span<const int32_t> tokens, int chunk_tokens = 64);

 private:
  Checkpoint checkpoint_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<MemoryKind> window_;
  Workspace work_;
};

// Uniform ids in [0, vocab_size).
std::vector<int32_t> RandomTokens(uint64_t seed, int count, int vocab_size);

}  // namespace memgate

#endif  // MEMGATE_TESTS_MODEL_RUNNING_MODEL_H_
