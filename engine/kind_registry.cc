#include "engine/kind_registry.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_join.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "engine/memory/kind_table.h"

namespace memgate {
namespace {

constexpr int32_t kSinks = 4;             // StreamingLLM (arXiv 2309.17453): four are enough
constexpr int32_t kLargestWindow = 1024;  // unless a module or the client asks for more
constexpr int32_t kLargestSegment = 256;

// A geometry for models without a trained module. Everything stays within the trained context, far tokens
// included.
SessionShape UntrainedShape(const ModelConfig& config) {
  const int64_t context = config.sliding_window() > 0 ? std::min(config.max_position, config.sliding_window())
                                                      : config.max_position;
  SessionShape shape;
  shape.segment = static_cast<int32_t>(std::clamp<int64_t>(context / 8, 1, kLargestSegment));
  shape.sinks = static_cast<int32_t>(std::min<int64_t>(kSinks, context / 16));
  shape.window =
      static_cast<int32_t>(std::clamp<int64_t>(context - shape.segment - shape.sinks, 1, kLargestWindow));
  return shape;
}

// For a kind without weights: the default kind's, so that both can be compared, unless that is larger than a
// model without modules would get. If it has slots, as many as the default kind, or as there are tokens in
// the window.
SessionShape ShapeBeside(const SessionShape& of_default, const MemoryKind& kind, const ModelConfig& config) {
  SessionShape shape = UntrainedShape(config);
  if (of_default.exact_capacity() <= shape.exact_capacity()) shape = of_default;
  if (!kind.HasRetention()) {
    shape.salient = 0;
  } else if (shape.salient == 0) {
    shape.salient = shape.window;
  }
  return shape;
}

// The folders under `folder`/memory that hold a module, in order of name.
absl::StatusOr<std::vector<std::string>> NamedModuleFolders(const std::string& folder) {
  const std::string parent = Concat(folder, "/memory");
  std::vector<std::string> found;
  std::error_code error;
  if (!std::filesystem::is_directory(parent, error)) return found;
  std::filesystem::directory_iterator entry(parent, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string path = entry->path().string();
    if (IsMemoryModuleFolder(path)) found.push_back(path);
  }
  if (error) return absl::UnavailableError(Concat(parent, ": ", error.message()));
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

absl::Status CheckFitsModel(const SessionShape& shape, const ModelConfig& config) {
  const int64_t limit = config.sliding_window();
  if (limit == 0 || shape.exact_capacity() <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("window_tokens: sinks + window + segment are ",
                                           shape.exact_capacity(),
                                           " tokens; this model's own sliding window ends at ", limit));
}

ModulePlace ModulePlace::Of(const std::string& memory_folder, const std::string& model_path) {
  if (memory_folder == kNoMemoryModules) return {};
  if (memory_folder.empty()) return {CheckpointFolder(model_path), /*required=*/false};
  return {memory_folder, /*required=*/true};
}

absl::StatusOr<std::vector<std::string>> KindRegistry::ModuleFolders(const ModulePlace& place) {
  if (place.folder.empty()) return std::vector<std::string>();
  auto folders = NamedModuleFolders(place.folder);
  if (folders.ok() && IsMemoryModuleFolder(place.folder)) folders->insert(folders->begin(), place.folder);
  return folders;
}

absl::StatusOr<int64_t> KindRegistry::ModuleBytes(const ModulePlace& place) {
  const auto folders = ModuleFolders(place);
  if (!folders.ok()) return folders.status();
  int64_t total = 0;
  for (const std::string& module : *folders) {
    const auto bytes = MemoryModuleBytes(module);
    if (!bytes.ok()) return bytes.status();
    total += *bytes;
  }
  return total;
}

absl::StatusOr<KindRegistry> KindRegistry::Load(const ModulePlace& place, const ModuleBase& base) {
  const ModelConfig& config = base.config;
  const auto folders = ModuleFolders(place);
  if (!folders.ok()) return folders.status();
  if (place.required && folders->empty()) {
    return absl::NotFoundError(Concat(place.folder, ": holds no memory module (memory.json)"));
  }
  KindRegistry registry;
  const bool has_default = !folders->empty() && folders->front() == place.folder;
  // `window` needs no module, so without a default module it comes first.
  if (!has_default) registry.Add({MakeWindowKind(), UntrainedShape(config)});
  for (const std::string& folder : *folders) {
    const absl::Status added = registry.AddModule(folder, base);
    if (added.ok()) continue;
    if (place.required || absl::IsUnavailable(added)) return added;
    return absl::Status(added.code(), Concat(ToStdView(added.message()), "; with memory '", kNoMemoryModules,
                                             "' the model is served without its modules"));
  }
  const SessionShape of_default = registry.default_kind().default_shape;
  for (const MemoryKindRow& row : MemoryKindTable()) {
    if (row.untrained == nullptr || registry.Has(row.name)) continue;
    std::unique_ptr<MemoryKind> kind = row.untrained(config);
    const SessionShape shape = ShapeBeside(of_default, *kind, config);
    registry.Add({std::move(kind), shape});
  }
  return registry;
}

absl::Status KindRegistry::AddModule(const std::string& folder, const ModuleBase& base) {
  absl::StatusOr<MemoryModule> module = LoadMemoryModule(folder, base);
  if (!module.ok()) return module.status();
  const MemoryModuleConfig& trained = module->config;
  const SessionShape shape{trained.sink_tokens, trained.window_tokens, trained.segment_tokens,
                           trained.salient_tokens};
  absl::Status fits = shape.Validate();
  if (fits.ok()) fits = CheckFitsModel(shape, base.config);
  if (fits.ok() && shape.salient > 0 && !module->kind->HasRetention()) {
    fits = absl::InvalidArgumentError(Concat("'salient_tokens' is ", shape.salient, ", but kind '",
                                             module->kind->name(), "' has no retention score"));
  }
  if (!fits.ok()) return absl::InvalidArgumentError(Concat(folder, ": ", ToStdView(fits.message())));

  modules_.push_back({folder, std::string(module->kind->name()), module->base});
  MemoryKinds kinds = std::move(module->variants);
  kinds.insert(kinds.begin(), std::move(module->kind));
  for (std::unique_ptr<MemoryKind>& kind : kinds) {
    if (const auto same = Find(kind->name()); same.ok()) {
      return absl::InvalidArgumentError(Concat("memory modules in ", (*same)->module_folder, " and ", folder,
                                               " are both named '", kind->name(), "'"));
    }
    Add({std::move(kind), shape, module->fingerprint, folder});
  }
  return absl::OkStatus();
}

void KindRegistry::Add(NewKind added) {
  auto entry = std::make_unique<KindEntry>();
  entry->kind = std::move(added.kind);
  entry->default_shape = added.default_shape;
  entry->module_fingerprint = std::move(added.module_fingerprint);
  entry->module_folder = std::move(added.module_folder);
  entries_.push_back(std::move(entry));
}

bool KindRegistry::Has(std::string_view name) const {
  return absl::c_any_of(entries_, [&](const auto& entry) { return entry->kind->name() == name; });
}

absl::StatusOr<KindEntry*> KindRegistry::Find(std::string_view name) const {
  if (name.empty() && !entries_.empty()) return entries_.front().get();
  for (const auto& entry : entries_) {
    if (entry->kind->name() == name) return entry.get();
  }
  const auto append_name = [](std::string* out, const std::unique_ptr<KindEntry>& entry) {
    absl::StrAppend(out, ToAbsl(entry->kind->name()));
  };
  return absl::InvalidArgumentError(Concat("memory_kind: unknown kind '", name, "'; this server has ",
                                           absl::StrJoin(entries_, ", ", append_name)));
}

}  // namespace memgate
