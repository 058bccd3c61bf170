// Rotary position embedding (RoFormer, arXiv 2104.09864) in the half-split layout of Hugging Face: element i
// is paired with element i + D/2.
#ifndef MEMGATE_ENGINE_KERNELS_ROPE_H_
#define MEMGATE_ENGINE_KERNELS_ROPE_H_

#include <cstdint>
#include <vector>

namespace memgate {

// Thread-safe: constant after construction.
class Rope {
 public:
  // inverse_frequencies: [D/2], radians per position.
  explicit Rope(std::vector<double> inverse_frequencies);

  int head_dim() const { return static_cast<int>(2 * inverse_frequencies_.size()); }

  // Writes cos [D/2] then sin [D/2] of `position`. Angles are formed and reduced in double precision, so that
  // position 10^7 is as exact as position 10.
  void Angles(int64_t position, float* cos_sin) const;

 private:
  std::vector<double> inverse_frequencies_;
};

// Rotates x [D] forward by the angles. `out` may be `x`.
void Rotate(const float* cos_sin, int head_dim, const float* x, float* out);
// The inverse rotation. `out` may be `x`.
void RotateBack(const float* cos_sin, int head_dim, const float* x, float* out);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_KERNELS_ROPE_H_
