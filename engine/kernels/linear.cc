#include "engine/kernels/linear.h"

#include <utility>

#include "engine/kernels/elementwise.h"
#include "engine/kernels/parallel.h"

namespace memgate {
namespace {

bool IsQuantised(WeightFormat format) {
  return format == WeightFormat::kInt8 || format == WeightFormat::kInt4;
}

// Rows of the weight matrix.
int StackedOutputs(const LinearShape& shape) { return shape.out_features * (shape.gated ? 2 : 1); }

QuantisedShape ToQuantised(const LinearShape& shape) {
  return {.format = shape.format,
          .out_features = shape.out_features,
          .in_features = shape.in_features,
          .gated = shape.gated};
}

}  // namespace

Linear::Linear(const LinearShape& shape, Matrix matrix) : shape_(shape), matrix_(std::move(matrix)) {}

int64_t Linear::PackedBytes(const LinearShape& shape) {
  if (IsQuantised(shape.format)) return QuantisedMatrix::Bytes(ToQuantised(shape));
  const int outputs = StackedOutputs(shape);
  return DnnlMatrix::Bytes(outputs, shape.in_features, shape.has_bias, shape.format)
      .value_or(shape.format == WeightFormat::kF32 ? PanelMatrix::Bytes(outputs, shape.in_features) : 0);
}

int64_t Linear::ScratchBytes(const LinearShape& shape, int rows) {
  if (IsQuantised(shape.format)) return QuantisedMatrix::ScratchBytes(rows, shape.in_features);
  return shape.gated ? rows * int64_t{StackedOutputs(shape)} * int64_t{sizeof(float)} : 0;
}

absl::StatusOr<Linear> Linear::Pack(const LinearShape& shape, absl::Span<const float> weight,
                                    absl::Span<const float> bias) {
  const int outputs = StackedOutputs(shape);
  if (static_cast<int64_t>(weight.size()) != int64_t{outputs} * shape.in_features ||
      static_cast<int64_t>(bias.size()) != (shape.has_bias ? outputs : 0)) {
    return absl::InternalError("linear layer: weight or bias of the wrong size");
  }
  if (IsQuantised(shape.format)) {
    auto matrix = QuantisedMatrix::Quantise(ToQuantised(shape), weight, bias);
    if (!matrix.ok()) return matrix.status();
    return Linear(shape, *std::move(matrix));
  }
  if (shape.format == WeightFormat::kF32 &&
      !DnnlMatrix::Bytes(outputs, shape.in_features, shape.has_bias, shape.format)) {
    return Linear(shape, PanelMatrix(weight, bias, outputs, shape.in_features));
  }
  auto matrix = DnnlMatrix::Pack(weight, bias, outputs, shape.in_features, shape.format);
  if (!matrix.ok()) return matrix.status();
  return Linear(shape, *std::move(matrix));
}

absl::StatusOr<Linear> Linear::View(const LinearShape& shape, absl::Span<const std::byte> packed) {
  auto matrix = QuantisedMatrix::View(ToQuantised(shape), packed);
  if (!matrix.ok()) return matrix.status();
  return Linear(shape, *std::move(matrix));
}

absl::Span<const std::byte> Linear::bytes() const {
  const auto* quantised = std::get_if<QuantisedMatrix>(&matrix_);
  return quantised ? quantised->bytes() : absl::Span<const std::byte>();
}

int64_t Linear::packed_bytes() const {
  if (const auto* dnnl = std::get_if<DnnlMatrix>(&matrix_)) return dnnl->bytes();
  if (const auto* panels = std::get_if<PanelMatrix>(&matrix_)) return panels->bytes();
  return static_cast<int64_t>(bytes().size());
}

absl::Status Linear::Apply(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const {
  if (const auto* dnnl = std::get_if<DnnlMatrix>(&matrix_)) return dnnl->Apply(x, rows, y);
  if (const auto* panels = std::get_if<PanelMatrix>(&matrix_)) {
    panels->Apply(x, rows, y);
  } else {
    std::get<QuantisedMatrix>(matrix_).Apply(x, rows, y, scratch);
  }
  return absl::OkStatus();
}

absl::Status Linear::AddTo(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const {
  if (const auto* dnnl = std::get_if<DnnlMatrix>(&matrix_)) return dnnl->AddTo(x, rows, y);
  if (const auto* panels = std::get_if<PanelMatrix>(&matrix_)) {
    panels->AddTo(x, rows, y);
  } else {
    std::get<QuantisedMatrix>(matrix_).AddTo(x, rows, y, scratch);
  }
  return absl::OkStatus();
}

absl::Status Linear::ApplyGated(const float* x, int rows, float* y, absl::Span<std::byte> scratch) const {
  if (const auto* quantised = std::get_if<QuantisedMatrix>(&matrix_)) {
    quantised->ApplyGated(shape_.activation, x, rows, y, scratch);
    return absl::OkStatus();
  }
  // [rows, 2F]: gate, up.
  float* gate_up = reinterpret_cast<float*>(scratch.data());
  if (auto s = Apply(x, rows, gate_up, {}); !s.ok()) return s;
  const int64_t f = shape_.out_features;
  ParallelFor(rows, LeastItems(8 * f), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = gate_up + r * 2 * f;
      ActivateMultiply(shape_.activation, gate, gate + f, f, y + r * f);
    }
  });
  return absl::OkStatus();
}

}  // namespace memgate
