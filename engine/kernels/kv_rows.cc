#include "engine/kernels/kv_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/base/strings.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/kv_rows.cc"
#include "hwy/foreach_target.h"
// clang-format off: Highway needs this order.
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace memgate {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::CappedTag<float, 16>;
using Single = hn::CappedTag<float, 1>;

// Rounds to nearest even; a number that is none stays one.
template <class D>
HWY_INLINE void StoreBf16(D d, const float* x, uint16_t* row) {
  const hn::Rebind<uint32_t, D> du;
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<uint16_t, D> half;
  const auto v = hn::LoadU(d, x);
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(bits, hn::Add(hn::Set(du, 0x7FFF), odd));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
  const auto upper = hn::ShiftRight<16>(hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, rounded));
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(di, upper)), half, row);
}

template <class D>
HWY_INLINE void LoadBf16(D d, const uint16_t* row, float* out) {
  const hn::Rebind<uint32_t, D> du;
  const hn::Rebind<uint16_t, D> half;
  hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(half, row)))), d, out);
}

template <class D>
HWY_INLINE void StoreInt8(D d, float inverse, const float* x, int8_t* row) {
  const hn::Rebind<int8_t, D> bytes;
  const auto q = hn::NearestInt(hn::Mul(hn::Set(d, inverse), hn::LoadU(d, x)));
  hn::StoreU(hn::DemoteTo(bytes, q), bytes, row);
}

template <class D>
HWY_INLINE void LoadInt8(D d, float scale, const int8_t* row, float* out) {
  const hn::Rebind<int8_t, D> bytes;
  const hn::Rebind<int32_t, D> di;
  const auto q = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(bytes, row)));
  hn::StoreU(hn::Mul(hn::Set(d, scale), q), d, out);
}

// visit(tag, i) for vectors of elements, then for single ones, until n is covered.
template <class Visitor>
HWY_INLINE void ForEachVector(int n, Visitor visit) {
  const int lanes = static_cast<int>(hn::Lanes(Wide()));
  int i = 0;
  for (; i + lanes <= n; i += lanes) visit(Wide(), i);
  for (; i < n; ++i) visit(Single(), i);
}

void StoreBf16Row(const float* x, int n, std::byte* row) {
  auto* to = reinterpret_cast<uint16_t*>(row);
  ForEachVector(n, [&](auto d, int i) HWY_ATTR { StoreBf16(d, x + i, to + i); });
}

void LoadBf16Rows(const std::byte* rows, int64_t count, int n, float* out) {
  const auto* from = reinterpret_cast<const uint16_t*>(rows);
  for (int64_t r = 0; r < count; ++r, from += n, out += n) {
    ForEachVector(n, [&](auto d, int i) HWY_ATTR { LoadBf16(d, from + i, out + i); });
  }
}

// max |x| / 127; 0 where that is no normal number, NaN where an element is not finite.
float Int8Scale(const float* x, int n) {
  const Wide d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto largest_lanes = hn::Zero(d), poison_lanes = hn::Zero(d);  // 0 * x is NaN where x is not finite
  int i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    largest_lanes = hn::Max(largest_lanes, hn::Abs(v));
    poison_lanes = hn::MulAdd(v, hn::Zero(d), poison_lanes);
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, largest_lanes));
  float poison = hn::GetLane(hn::SumOfLanes(d, poison_lanes));
  for (; i < n; ++i) {
    largest = std::max(largest, std::abs(x[i]));
    poison += 0.0f * x[i];
  }
  if (poison != 0.0f) return std::numeric_limits<float>::quiet_NaN();
  const float scale = largest / 127.0f;
  return scale < std::numeric_limits<float>::min() ? 0.0f : scale;
}

void StoreInt8Row(const float* x, int n, std::byte* row) {
  const float scale = Int8Scale(x, n);
  const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  std::memcpy(row, &scale, sizeof(scale));
  auto* to = reinterpret_cast<int8_t*>(row + sizeof(scale));
  ForEachVector(n, [&](auto d, int i) HWY_ATTR { StoreInt8(d, inverse, x + i, to + i); });
}

void LoadInt8Rows(const std::byte* rows, int64_t count, int n, float* out) {
  for (int64_t r = 0; r < count; ++r, rows += sizeof(float) + n, out += n) {
    float scale;
    std::memcpy(&scale, rows, sizeof(scale));
    const auto* from = reinterpret_cast<const int8_t*>(rows + sizeof(scale));
    ForEachVector(n, [&](auto d, int i) HWY_ATTR { LoadInt8(d, scale, from + i, out + i); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace memgate
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace memgate {

HWY_EXPORT(StoreBf16Row);
HWY_EXPORT(LoadBf16Rows);
HWY_EXPORT(StoreInt8Row);
HWY_EXPORT(LoadInt8Rows);

std::string_view KvFormatName(KvFormat format) {
  switch (format) {
    case KvFormat::kF32:
      return "f32";
    case KvFormat::kBf16:
      return "bf16";
    case KvFormat::kInt8:
      return "int8";
  }
  return "unknown";
}

absl::StatusOr<KvFormat> ParseKvFormat(std::string_view name) {
  for (const KvFormat format : kKvFormats) {
    if (name == KvFormatName(format)) return format;
  }
  return absl::InvalidArgumentError(Concat("unknown KV format '", name, "'; known: f32, bf16, int8"));
}

int64_t KvRowBytes(KvFormat format, int head_dim) {
  switch (format) {
    case KvFormat::kF32:
      return int64_t{head_dim} * int64_t{sizeof(float)};
    case KvFormat::kBf16:
      return int64_t{head_dim} * int64_t{sizeof(uint16_t)};
    case KvFormat::kInt8:
      return int64_t{head_dim} + int64_t{sizeof(float)};
  }
  return 0;
}

void KvRows::Store(int64_t row, const float* x) const {
  switch (format_) {
    case KvFormat::kF32:
      std::memcpy(at(row), x, row_bytes_);
      return;
    case KvFormat::kBf16:
      HWY_DYNAMIC_DISPATCH(StoreBf16Row)(x, head_dim_, at(row));
      return;
    case KvFormat::kInt8:
      HWY_DYNAMIC_DISPATCH(StoreInt8Row)(x, head_dim_, at(row));
      return;
  }
}

void KvRows::Load(int64_t row, int64_t count, float* out) const {
  if (count == 0) return;  // a run without rows may have no memory either
  switch (format_) {
    case KvFormat::kF32:
      std::memcpy(out, at(row), count * row_bytes_);
      return;
    case KvFormat::kBf16:
      HWY_DYNAMIC_DISPATCH(LoadBf16Rows)(at(row), count, head_dim_, out);
      return;
    case KvFormat::kInt8:
      HWY_DYNAMIC_DISPATCH(LoadInt8Rows)(at(row), count, head_dim_, out);
      return;
  }
}

const float* KvRows::Floats(int64_t row, int64_t count, float* scratch) const {
  if (format_ == KvFormat::kF32) return reinterpret_cast<const float*>(at(row));
  Load(row, count, scratch);
  return scratch;
}

void KvRows::Move(int64_t from, int64_t to, int64_t count) const {
  std::memmove(at(to), at(from), count * row_bytes_);
}

}  // namespace memgate
#endif  // HWY_ONCE
