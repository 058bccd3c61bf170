#include "engine/kernels/aligned_bytes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace memgate {
namespace {

// Below and above the size that asks for huge pages, and no multiple of a page.
TEST(AlignedBytesTest, BlocksOfAllSizesAreAlignedAndStayWhereTheyAreWhenMoved) {
  for (const int64_t size :
       {int64_t{0}, int64_t{1}, int64_t{4097}, (int64_t{2} << 20) + 13, int64_t{5} << 20}) {
    AlignedBytes bytes(size);
    ASSERT_EQ(static_cast<int64_t>(bytes.span().size()), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.span().data()) % kCacheLineBytes, 0u);
    std::fill(bytes.span().begin(), bytes.span().end(), std::byte{7});
    const std::byte* data = bytes.span().data();
    AlignedBytes moved(std::move(bytes));
    AlignedBytes assigned(3);
    assigned = std::move(moved);
    EXPECT_EQ(assigned.span().data(), data);
    EXPECT_EQ(std::count(assigned.span().begin(), assigned.span().end(), std::byte{7}), size);
    EXPECT_TRUE(moved.span().empty());
  }
}

}  // namespace
}  // namespace memgate
