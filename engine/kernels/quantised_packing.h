// Rounding weights to 8 or 4 bits, into the layout of kernels/quantised_layout.h.
#ifndef MEMGATE_ENGINE_KERNELS_QUANTISED_PACKING_H_
#define MEMGATE_ENGINE_KERNELS_QUANTISED_PACKING_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/kernels/quantised_matrix.h"

namespace memgate {

// Writes all panels of a matrix, spread over the pool. weight and bias as for QuantisedMatrix::Quantise, of
// the right sizes; panels: [panels * panel_bytes]. INVALID_ARGUMENT if a weight is no finite number.
absl::Status PackPanels(const QuantisedShape& shape, absl::Span<const float> weight,
                        absl::Span<const float> bias, absl::Span<std::byte> panels);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_QUANTISED_PACKING_H_
