// Read-only tensors of a checkpoint.
#ifndef MEMGATE_ENGINE_CHECKPOINT_TENSOR_H_
#define MEMGATE_ENGINE_CHECKPOINT_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/checkpoint/dtype.h"
#include "engine/checkpoint/mapped_file.h"

namespace memgate {

// A row-major, little-endian tensor inside a mapped file. Borrows; lives as long as its source. `data` need
// not be aligned to the element size.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;
  size_t bytes = 0;
  // Rows are stored one after the other, in order. Except where this is not 0: then rows come in heads of
  // 2 * paired_rows, and row i of a head is followed by row i + paired_rows, as llama-architecture GGUF files
  // have queries and keys.
  int64_t paired_rows = 0;

  int64_t elements() const;
  int64_t rows() const;     // all dimensions but the last
  int64_t columns() const;  // the last dimension; 1 for a scalar
  // One row, of shape {columns()}. REQUIRES: 0 <= index < rows().
  TensorView Row(int64_t index) const;
};

// Converts `view` to f32, rows in order (DecodeElements). REQUIRES: out.size() == view.elements().
void ToFloat(const TensorView& view, absl::Span<float> out);

// Named tensors. Thread-safe after construction.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // NOT_FOUND (naming the tensor and the file or folder) if there is none.
  virtual absl::StatusOr<TensorView> Find(std::string_view name) const = 0;
  // The tensor in messages, be it there or not: 'tensor "blk.0.attn_q.weight" in FILE', its name as the file
  // spells it. A folder takes the place of the file where it has no such tensor.
  virtual std::string Describe(std::string_view name) const;
  virtual bool Has(std::string_view name) const = 0;
  // In ascending byte order.
  virtual std::vector<std::string> Names() const = 0;
  // Tensors that are there but of a type that memgate does not read, which Names() leaves out: name -> type.
  virtual std::map<std::string, std::string, std::less<>> Unsupported() const { return {}; }
  // Everything that the tensors are read from, as it was when it was opened; none for tensors of other
  // origin.
  virtual std::vector<FileIdentity> Files() const { return {}; }
  // Makes room: what was read of the files leaves the process's resident memory until it is read again.
  virtual void ReleasePages() const {}
};

// Finds `name` and checks its shape; INVALID_ARGUMENT describes the tensor and names expected and found
// shape.
absl::StatusOr<TensorView> FindShaped(const TensorSource& source, std::string_view name,
                                      absl::Span<const int64_t> shape);

// Appends the numbers of `name` to `out`, rows in order. Errors as of FindShaped; INVALID_ARGUMENT if one of
// them is not finite: what is computed with such a weight is worth nothing.
absl::Status AppendNumbers(const TensorSource& source, std::string_view name, absl::Span<const int64_t> shape,
                           std::vector<float>& out);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_TENSOR_H_
