// The memory kinds that sessions of one engine can have. Internal to engine.cc.
#ifndef MEMGATE_ENGINE_KIND_REGISTRY_H_
#define MEMGATE_ENGINE_KIND_REGISTRY_H_

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/module.h"
#include "engine/session/shape.h"

namespace memgate {

// INVALID_ARGUMENT if the exact part of `shape` is longer than the model's own sliding window.
absl::Status CheckFitsModel(const SessionShape& shape, const ModelConfig& config);

struct KindEntry {
  std::unique_ptr<MemoryKind> kind;
  SessionShape default_shape;
  std::string module_fingerprint;  // of the trained weights; empty if there are none
  std::string module_folder;       // where they came from; empty likewise
  std::atomic<int64_t> sessions{0};
  std::atomic<int64_t> session_bytes{0};
};

// Where the memory modules of a model are looked for.
struct ModulePlace {
  std::string folder;     // empty: nowhere
  bool required = false;  // no module there is an error

  // What EngineOptions::memory_folder means for the model at `model_path`.
  static ModulePlace Of(const std::string& memory_folder, const std::string& model_path);
};

// Constant after construction, except for the counters: thread-safe.
class KindRegistry {
 public:
  // Loads the default module from the place's folder and further ones from its memory/<name>/, each if it is
  // there (engine/memory/module.h). Without a module in the folder itself the default is `window`. Kinds that
  // work without training follow. Errors as LoadMemoryModule; INVALID_ARGUMENT names both folders if two
  // modules have the same name. Where nobody asked for modules, the message says how to do without.
  static absl::StatusOr<KindRegistry> Load(const ModulePlace& place, const ModuleBase& base);

  // The folders with modules that Load() finds, in its order. UNAVAILABLE if they cannot be listed.
  static absl::StatusOr<std::vector<std::string>> ModuleFolders(const ModulePlace& place);

  // Bytes that the weights of all modules that Load() finds take (MemoryModuleBytes).
  static absl::StatusOr<int64_t> ModuleBytes(const ModulePlace& place);

  // Empty name = the default kind. INVALID_ARGUMENT lists the kinds there are.
  absl::StatusOr<KindEntry*> Find(std::string_view name) const;
  KindEntry& default_kind() const { return *entries_.front(); }
  const std::vector<std::unique_ptr<KindEntry>>& entries() const { return entries_; }
  // In the order of ModuleFolders().
  const std::vector<MemoryModuleInfo>& modules() const { return modules_; }

 private:
  struct NewKind {
    std::unique_ptr<MemoryKind> kind;
    SessionShape default_shape;
    std::string module_fingerprint;
    std::string module_folder;
  };

  absl::Status AddModule(const std::string& folder, const ModuleBase& base);
  void Add(NewKind added);
  bool Has(std::string_view name) const;

  std::vector<std::unique_ptr<KindEntry>> entries_;  // the default first
  std::vector<MemoryModuleInfo> modules_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KIND_REGISTRY_H_
