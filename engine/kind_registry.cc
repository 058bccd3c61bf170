#include "engine/kind_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "engine/base/strings.h"
#include "engine/memory/infini.h"

namespace memgate {
namespace {

constexpr int32_t kSinks = 4;             // StreamingLLM (arXiv 2309.17453): four are enough
constexpr int32_t kLargestWindow = 1024;  // unless a module or the client asks for more
constexpr int32_t kLargestSegment = 256;

// A geometry for models without a trained module. Everything stays within the trained context, far tokens
// included.
SessionShape UntrainedShape(const ModelConfig& config) {
  const int64_t context =
      config.sliding_window > 0 ? std::min(config.max_position, config.sliding_window) : config.max_position;
  SessionShape shape;
  shape.segment = static_cast<int32_t>(std::clamp<int64_t>(context / 8, 1, kLargestSegment));
  shape.sinks = static_cast<int32_t>(std::min<int64_t>(kSinks, context / 16));
  shape.window =
      static_cast<int32_t>(std::clamp<int64_t>(context - shape.segment - shape.sinks, 1, kLargestWindow));
  return shape;
}

}  // namespace

absl::Status CheckFitsModel(const SessionShape& shape, const ModelConfig& config) {
  const int64_t limit = config.sliding_window;
  if (limit == 0 || shape.exact_capacity() <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("window_tokens: sinks + window + segment are ",
                                           shape.exact_capacity(),
                                           " tokens; this model's own sliding window ends at ", limit));
}

absl::StatusOr<KindRegistry> KindRegistry::Load(const std::string& folder, bool required,
                                                const ModelConfig& config, std::string_view fingerprint) {
  KindRegistry registry;
  SessionShape bare = UntrainedShape(config);
  absl::StatusOr<MemoryModule> module = LoadMemoryModule(folder, config, fingerprint);
  if (module.ok()) {
    const MemoryModuleConfig& trained = module->config;
    const SessionShape shape{trained.sink_tokens, trained.window_tokens, trained.segment_tokens,
                             trained.salient_tokens};
    if (auto s = shape.Validate(); !s.ok()) {
      return absl::InvalidArgumentError(Concat(folder, "/memory.json: ", s.message()));
    }
    if (auto s = CheckFitsModel(shape, config); !s.ok()) {
      return absl::InvalidArgumentError(Concat(folder, "/memory.json: ", ToStdView(s.message())));
    }
    if (shape.salient > 0 && !module->kind->HasRetention()) {
      return absl::InvalidArgumentError(Concat(folder, "/memory.json: 'salient_tokens' is ", shape.salient,
                                               ", but kind '", module->kind->name(),
                                               "' has no retention score"));
    }
    registry.Add(std::move(module->kind), shape, std::move(module->fingerprint));
    bare = shape;
    bare.salient = 0;
  } else if (required || !absl::IsNotFound(module.status())) {
    return module.status();
  }
  registry.Add(MakeWindowKind(), bare, "");
  registry.Add(MakeInfiniKind(config, InfiniRule::kLinear, std::nullopt), bare, "");
  registry.Add(MakeInfiniKind(config, InfiniRule::kDelta, std::nullopt), bare, "");
  return registry;
}

void KindRegistry::Add(std::unique_ptr<MemoryKind> kind, const SessionShape& shape,
                       std::string module_fingerprint) {
  if (Find(kind->name()).ok()) return;  // the trained one came first
  auto entry = std::make_unique<KindEntry>();
  entry->kind = std::move(kind);
  entry->default_shape = shape;
  entry->module_fingerprint = std::move(module_fingerprint);
  entries_.push_back(std::move(entry));
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
