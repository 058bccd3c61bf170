#include "engine/memory/kind_table.h"

#include <optional>

#include "engine/base/strings.h"
#include "engine/memory/ahn.h"
#include "engine/memory/edgeinfinite.h"
#include "engine/memory/infini.h"
#include "engine/memory/memgate.h"
#include "engine/memory/self_recall.h"

namespace memgate {
namespace {

constexpr std::string_view kAhnOptions[] = {"_ahn_implementation", "use_ahn_router", "use_q_proj"};
constexpr std::string_view kInfiniOptions[] = {"normaliser"};

constexpr MemoryKindRow kTable[] = {
    {"window", nullptr, [](const ModelConfig&) { return MakeWindowKind(); }},
    {"memgate", &LoadMemgate, nullptr},
    {"edgeinfinite", &LoadEdgeInfinite, nullptr},
    {"ahn", &LoadAhn, nullptr, kAhnOptions},
    {"infini", &LoadInfini,
     [](const ModelConfig& config) { return MakeInfiniKind(config, InfiniRule::kLinear, std::nullopt); },
     kInfiniOptions},
    {"infini-delta", &LoadInfini,
     [](const ModelConfig& config) { return MakeInfiniKind(config, InfiniRule::kDelta, std::nullopt); },
     kInfiniOptions},
    {"memgate-untrained", nullptr, &MakeSelfRecallKind},
};

}  // namespace

absl::Span<const MemoryKindRow> MemoryKindTable() { return kTable; }

const MemoryKindRow* FindMemoryKind(std::string_view name) {
  for (const MemoryKindRow& row : kTable) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::string LoadableKindNames() {
  std::string names;
  for (const MemoryKindRow& row : kTable) {
    if (row.load != nullptr) names = Concat(names, names.empty() ? "" : ", ", row.name);
  }
  return names;
}

}  // namespace memgate
