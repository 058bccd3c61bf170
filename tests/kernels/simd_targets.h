// Runs a test body on every SIMD target that the binary holds and this machine has.
#ifndef MEMGATE_TESTS_KERNELS_SIMD_TARGETS_H_
#define MEMGATE_TESTS_KERNELS_SIMD_TARGETS_H_

#include <gtest/gtest.h>

#include "absl/functional/function_ref.h"

// Opt-in in Highway 1.0; kernels without code for it run the target that the binary was compiled for.
#define HWY_WANT_AVX3_DL 1
#include "hwy/targets.h"

namespace memgate {

// Failures name the target. Returns how many targets ran.
inline int OnEverySimdTarget(absl::FunctionRef<void()> body) {
  int count = 0;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    body();
    hwy::SetSupportedTargetsForTest(0);
    ++count;
  }
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return count;
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_KERNELS_SIMD_TARGETS_H_
