#include "engine/structured/compile_budget.h"

#include "engine/base/strings.h"

namespace memgate {

absl::Status CompileBudget::Check() const {
  if (steps_ > kMaxSteps) {
    return absl::InvalidArgumentError(
        Concat("takes more than ", kMaxSteps,
               " steps to compile up to here; use simpler patterns, or fewer combinations and alternatives"));
  }
  if (bytes_ > kMaxBytes) {
    return absl::InvalidArgumentError(
        Concat("takes more than ", kMaxBytes >> 20,
               " MiB to compile up to here; use simpler patterns, or fewer combinations and alternatives"));
  }
  return absl::OkStatus();
}

}  // namespace memgate
