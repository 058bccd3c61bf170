#include "engine/checkpoint/architectures/architecture.h"

namespace memgate {

absl::Span<const Architecture* const> ArchitectureTable() {
  static constexpr const Architecture* kTable[] = {&kLlama, &kMistral, &kQwen2, &kQwen3};
  return kTable;
}

}  // namespace memgate
