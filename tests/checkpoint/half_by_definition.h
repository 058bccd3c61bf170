// The number that 16 bits stand for as IEEE 754's binary16.
#ifndef MEMGATE_TESTS_CHECKPOINT_HALF_BY_DEFINITION_H_
#define MEMGATE_TESTS_CHECKPOINT_HALF_BY_DEFINITION_H_

#include <cmath>

namespace memgate {

inline double HalfByDefinition(int half) {
  const double sign = half & 0x8000 ? -1 : 1;
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  if (exponent == 31) return mantissa != 0 ? std::nan("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_CHECKPOINT_HALF_BY_DEFINITION_H_
