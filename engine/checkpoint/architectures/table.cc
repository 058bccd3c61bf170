#include <algorithm>

#include "engine/base/strings.h"
#include "engine/checkpoint/architectures/architecture.h"

namespace memgate {

absl::Span<const Architecture* const> ArchitectureTable() {
  static constexpr const Architecture* kTable[] = {
      &kLlama, &kMistral, &kQwen2, &kQwen3, &kPhi3, &kSmolLm3, &kGemma2, &kGemma3, &kGemma3Conditional};
  return kTable;
}

void NameTensors(const Architecture& architecture, absl::FunctionRef<bool(const std::string&)> has_tensor,
                 ModelConfig& config) {
  const auto names = architecture.tensor_names;
  auto found = std::find_if(names.begin(), names.end(), [&](const TensorNames& candidate) {
    return has_tensor(Concat(candidate.prefix, "embed_tokens.weight"));
  });
  if (found == names.end()) found = names.begin();
  config.tensor_prefix = std::string(found->prefix);
  config.head_tensor = std::string(found->head);
}

}  // namespace memgate
