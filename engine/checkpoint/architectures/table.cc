#include "engine/checkpoint/architectures/architecture.h"

namespace memgate {

absl::Span<const Architecture* const> ArchitectureTable() {
  static constexpr const Architecture* kTable[] = {
      &kLlama, &kMistral, &kQwen2, &kQwen3, &kPhi3, &kSmolLm3, &kGemma2, &kGemma3, &kGemma3Conditional};
  return kTable;
}

}  // namespace memgate
