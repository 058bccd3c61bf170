// How reads of a memory are spread over threads: by query head and runs of tokens.
#ifndef MEMGATE_ENGINE_MEMORY_HEAD_SLICES_H_
#define MEMGATE_ENGINE_MEMORY_HEAD_SLICES_H_

#include <algorithm>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "engine/kernels/parallel.h"

namespace memgate {

// Tokens that read a head's matrix together; enough that it is fetched once for many of them.
inline constexpr int kSliceTokens = 32;

// Calls body(head, first token, tokens) for runs of at most kSliceTokens tokens that together cover every
// head of every token. row_operations: multiply-adds per token and head.
inline void ForEachHeadSlice(int heads, int tokens, int64_t row_operations,
                             absl::FunctionRef<void(int head, int first, int count)> body) {
  const int slices = (tokens + kSliceTokens - 1) / kSliceTokens;
  const int64_t slice_operations = row_operations * std::min(tokens, kSliceTokens);
  ParallelFor(int64_t{heads} * slices, LeastItems(slice_operations), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int first = static_cast<int>(i % slices) * kSliceTokens;
      body(static_cast<int>(i / slices), first, std::min(kSliceTokens, tokens - first));
    }
  });
}

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_HEAD_SLICES_H_
