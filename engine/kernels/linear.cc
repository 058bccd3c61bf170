#include "engine/kernels/linear.h"

#include <utility>

namespace memgate {

Linear::Linear(Matrix matrix, int out_features, int in_features)
    : matrix_(std::move(matrix)), out_features_(out_features), in_features_(in_features) {}

int64_t Linear::PackedBytes(int out_features, int in_features, bool has_bias, WeightFormat /*format*/) {
  return DnnlMatrix::Bytes(out_features, in_features, has_bias)
      .value_or(PanelMatrix::Bytes(out_features, in_features));
}

absl::StatusOr<Linear> Linear::Pack(absl::Span<const float> weight, absl::Span<const float> bias,
                                    int out_features, int in_features, WeightFormat format) {
  if (format != WeightFormat::kF32) return absl::UnimplementedError("linear layers hold f32 weights only");
  if (static_cast<int64_t>(weight.size()) != int64_t{out_features} * in_features ||
      (!bias.empty() && static_cast<int64_t>(bias.size()) != out_features)) {
    return absl::InternalError("linear layer: weight or bias of the wrong size");
  }
  if (!DnnlMatrix::Bytes(out_features, in_features, !bias.empty())) {
    return Linear(PanelMatrix(weight, bias, out_features, in_features), out_features, in_features);
  }
  auto matrix = DnnlMatrix::Pack(weight, bias, out_features, in_features);
  if (!matrix.ok()) return matrix.status();
  return Linear(*std::move(matrix), out_features, in_features);
}

int64_t Linear::packed_bytes() const {
  if (const auto* dnnl = std::get_if<DnnlMatrix>(&matrix_)) return dnnl->bytes();
  return PanelMatrix::Bytes(out_features_, in_features_);
}

absl::Status Linear::Apply(const float* x, int rows, float* y) const {
  if (const auto* dnnl = std::get_if<DnnlMatrix>(&matrix_)) return dnnl->Apply(x, rows, y);
  std::get<PanelMatrix>(matrix_).Apply(x, rows, y);
  return absl::OkStatus();
}

}  // namespace memgate
