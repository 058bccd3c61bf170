// Keys and values as a session holds them: rows of D numbers, one behind the other, in one of several
// formats. The one place that knows how a row is stored and read.
#ifndef MEMGATE_ENGINE_KERNELS_KV_ROWS_H_
#define MEMGATE_ENGINE_KERNELS_KV_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace memgate {

enum class KvFormat {
  kF32,   // D floats
  kBf16,  // D bfloat16, rounded to nearest, ties to even
  kInt8,  // the row's scale (f32), then D signed bytes q: x = scale * q
};

inline constexpr KvFormat kKvFormats[] = {KvFormat::kF32, KvFormat::kBf16, KvFormat::kInt8};

std::string_view KvFormatName(KvFormat format);  // "f32", "bf16", "int8"
// INVALID_ARGUMENT lists the formats there are.
absl::StatusOr<KvFormat> ParseKvFormat(std::string_view name);

// Bytes of one row; no padding between rows.
int64_t KvRowBytes(KvFormat format, int head_dim);

// A view of rows; copies are cheap. Rows need the alignment of float in f32, of two bytes in bf16, none in
// int8. Different rows may be used by different threads.
class KvRows {
 public:
  KvRows() = default;
  KvRows(KvFormat format, int head_dim, std::byte* data)
      : format_(format), head_dim_(head_dim), row_bytes_(KvRowBytes(format, head_dim)), data_(data) {}

  int64_t row_bytes() const { return row_bytes_; }
  // The bytes of `row` and of those behind it.
  std::byte* at(int64_t row) const { return data_ + row * row_bytes_; }
  // The rows from `row` on.
  KvRows From(int64_t row) const { return {format_, head_dim_, at(row)}; }

  // Rounds x [D] into `row`. int8 takes scale = max |x| / 127 and the nearest q, ties to even, so that an
  // element is off by at most scale / 2; a row whose scale would be no normal number is stored as zeros, and
  // one that holds an infinity or no number reads back as no numbers throughout.
  void Store(int64_t row, const float* x) const;
  // out: [count, D]. Exact: what was rounded stays as it is.
  void Load(int64_t row, int64_t count, float* out) const;
  // The same without a copy where rows are floats already; `scratch` [count, D] serves the other formats.
  const float* Floats(int64_t row, int64_t count, float* scratch) const;
  // Copies `count` rows as they are, without another rounding; the two ranges may overlap.
  void Move(int64_t from, int64_t to, int64_t count) const;

 private:
  KvFormat format_ = KvFormat::kF32;
  int head_dim_ = 0;
  int64_t row_bytes_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_KV_ROWS_H_
