// Everything of an engine that is constant once it runs. Internal to engine/.
#ifndef MEMGATE_ENGINE_LOADED_MODEL_H_
#define MEMGATE_ENGINE_LOADED_MODEL_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/tensor.h"
#include "engine/engine.h"
#include "engine/kind_registry.h"
#include "engine/model/transformer.h"
#include "engine/session/byte_accountant.h"
#include "engine/text/chat_templates.h"
#include "engine/text/gguf_vocabulary.h"
#include "engine/text/tokenizer.h"
#include "engine/weight_store.h"

namespace memgate {

// Members are in the order in which they need each other: reservations go before their accountant, the
// transformer before the files its embedding lies in.
struct LoadedModel {
  EngineOptions options;
  std::unique_ptr<const WeightStore> weight_store;
  std::unique_ptr<TensorSource> tensors;
  std::unique_ptr<Tokenizer> tokenizer;
  ChatTemplates chat_templates;
  std::unique_ptr<Transformer> transformer;
  std::unique_ptr<KindRegistry> kinds;
  std::vector<int32_t> eos_ids;  // that end an answer: LoadText says which
  ModelInfo info;
  std::unique_ptr<ByteAccountant> accountant;
  Reservation weight_bytes;
  Reservation module_bytes;
  Reservation work_bytes;
};

// The tokenizer in the model folder `path`, or of the GGUF file `path`, whose `vocabulary` it then is.
// Messages start with the path.
absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& path,
                                                         const std::optional<GgufVocabulary>& vocabulary);

// Reads model, tokenizer and memory module; reserves bytes before it packs. Errors as Engine::Load.
absl::StatusOr<LoadedModel> LoadModel(EngineOptions options);

// What a chat template is given besides messages and variables: bos_token and eos_token as the tokenizer
// spells them, and the time.
ChatRenderOptions RenderOptions(const LoadedModel& model);

// Bytes of a full KV cache for `tokens` tokens: of a layer with a window of its own at most that many. Unit:
// tokens; a snapshot may claim any number, the result is then the largest there is.
int64_t FullKvBytes(const ModelConfig& config, KvFormat format, int64_t tokens);

// INVALID_ARGUMENT, naming `path`, if a tokenizer of `tokens` ids has some that the model lacks.
absl::Status CheckVocabulary(std::string_view path, int tokens, const ModelConfig& config);

// ByteAccountant::Reserve with the reason MEMORY_BUDGET on refusal.
absl::StatusOr<Reservation> ReserveBytes(ByteAccountant& accountant, int64_t bytes, std::string_view what);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_LOADED_MODEL_H_
