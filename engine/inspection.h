// What a model or a memory module on disk holds, and what serving it would cost, without loading it.
#ifndef MEMGATE_ENGINE_INSPECTION_H_
#define MEMGATE_ENGINE_INSPECTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/kernels/kv_rows.h"
#include "engine/kernels/weight_format.h"
#include "engine/memory/module_base.h"
#include "engine/session/shape.h"

namespace memgate {

// Inspection::format of a memory module without a model.
inline constexpr char kMemoryModuleFormat[] = "memory module";

struct TensorTypeSummary {
  std::string type;  // "BF16", "Q4_K"
  int64_t tensors = 0;
  int64_t bytes = 0;     // 0 if it is not readable: its size is not known
  bool readable = true;  // whether memgate reads the type
};

struct ModuleSummary {
  std::string folder;
  std::string kind;
  std::string name;  // what sessions ask for
  SessionShape shape;
  int64_t weight_bytes = 0;       // once loaded
  std::string base_fingerprint;   // empty if the format has none
  std::optional<BaseMatch> base;  // none if it was not loaded, alone or because it does not fit
};

struct WeightCost {
  WeightFormat format = WeightFormat::kF32;
  int64_t bytes = 0;  // packed
};

struct SessionCost {
  KvFormat format = KvFormat::kF32;
  int64_t bytes = 0;
};

struct KindSummary {
  std::string kind;
  bool trained = false;
  SessionShape shape;                // default geometry
  std::vector<SessionCost> session;  // in every format of keys and values
};

struct Inspection {
  std::string path;
  std::string format;                    // "Hugging Face folder", "GGUF 3", or kMemoryModuleFormat
  std::string architecture;              // as the files spell it; empty if they do not
  std::vector<TensorTypeSummary> types;  // those of most bytes first
  std::string tokenizer;                 // what kind; empty if there is none that can be read
  int vocabulary_size = 0;               // tokens of the tokenizer
  bool has_chat_template = false;
  std::vector<ModuleSummary> modules;

  std::vector<std::string> obstacles;  // why it cannot be served; empty if it can
  std::vector<std::string> remarks;    // what will not work although it is served

  // The rest is only known of models whose description could be read.
  std::optional<ModelConfig> config;
  std::optional<int64_t> parameters;  // if all tensors are there
  std::string fingerprint;            // of all tensors; empty if nothing needed it
  std::string norms_fingerprint;      // of the norms (NormsFingerprint); empty without `parameters`, too
  std::vector<WeightCost> weights;    // in every format
  WeightFormat default_weights = WeightFormat::kF32;
  std::vector<SessionCost> full_kv_per_token;
  std::vector<KindSummary> kinds;  // the default one first; empty if a module does not fit
};

struct InspectionOptions {
  std::string memory_folder;  // as in EngineOptions
  BaseRule memory_base = BaseRule::kSame;
  int64_t memory_budget_bytes = 0;  // what default_weights is chosen for
};

// Looks at a model folder, a GGUF file, or the folder of a memory module without a model. Reads descriptions,
// the tokenizer and memory modules, and of the weights only names, types and shapes; a module that names the
// model it was trained on makes it compute the model's fingerprint, which reads all bytes once. NOT_FOUND if
// there is nothing at `path`; what is wrong with what is there goes to `obstacles`.
absl::StatusOr<Inspection> Inspect(const std::string& path, const InspectionOptions& options);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_INSPECTION_H_
