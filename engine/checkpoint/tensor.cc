#include "engine/checkpoint/tensor.h"

#include <cassert>
#include <cmath>
#include <limits>

#include "absl/strings/str_join.h"
#include "engine/base/strings.h"

namespace memgate {
namespace {

// Looks at all of them, so that a compiler takes several at a time.
bool AllFinite(absl::Span<const float> numbers) {
  bool finite = true;
  for (const float x : numbers) finite &= std::abs(x) <= std::numeric_limits<float>::max();
  return finite;
}

}  // namespace

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

int64_t TensorView::columns() const { return shape.empty() ? 1 : shape.back(); }

int64_t TensorView::rows() const { return columns() == 0 ? 0 : elements() / columns(); }

TensorView TensorView::Row(int64_t index) const {
  assert(index >= 0 && index < rows());
  int64_t stored = index;
  if (paired_rows > 0) {
    const int64_t in_head = index % (2 * paired_rows);
    stored = index - in_head + 2 * (in_head % paired_rows) + in_head / paired_rows;
  }
  const int64_t row_bytes = DTypeBytes(dtype, columns());
  return {name, dtype, {columns()}, data + stored * row_bytes, static_cast<size_t>(row_bytes)};
}

void ToFloat(const TensorView& view, absl::Span<float> out) {
  assert(static_cast<int64_t>(out.size()) == view.elements());
  if (view.paired_rows == 0) return DecodeElements(view.dtype, view.data, out);
  const int64_t columns = view.columns();
  for (int64_t row = 0; row < view.rows(); ++row) {
    DecodeElements(view.dtype, view.Row(row).data, out.subspan(row * columns, columns));
  }
}

std::string TensorSource::Describe(std::string_view name) const { return Concat("tensor \"", name, "\""); }

absl::StatusOr<TensorView> FindShaped(const TensorSource& source, std::string_view name,
                                      absl::Span<const int64_t> shape) {
  absl::StatusOr<TensorView> view = source.Find(name);
  if (!view.ok()) return view;
  if (absl::MakeConstSpan(view->shape) != shape) {
    return absl::InvalidArgumentError(Concat(source.Describe(name), " has shape [",
                                             absl::StrJoin(view->shape, ", "), "], expected [",
                                             absl::StrJoin(shape, ", "), "]"));
  }
  return view;
}

absl::Status AppendNumbers(const TensorSource& source, std::string_view name, absl::Span<const int64_t> shape,
                           std::vector<float>& out) {
  const absl::StatusOr<TensorView> view = FindShaped(source, name, shape);
  if (!view.ok()) return view.status();
  const size_t begin = out.size();
  out.resize(begin + static_cast<size_t>(view->elements()));
  const absl::Span<float> numbers = absl::MakeSpan(out).subspan(begin);
  bool finite = true;
  for (int64_t row = 0; row < view->rows(); ++row) {
    const absl::Span<float> part = numbers.subspan(row * view->columns(), view->columns());
    ToFloat(view->Row(row), part);
    finite &= AllFinite(part);  // while it lies in a cache
  }
  if (finite) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat(source.Describe(name), " holds a number that is not finite"));
}

}  // namespace memgate
