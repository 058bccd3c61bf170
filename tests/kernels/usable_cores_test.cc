#include "engine/kernels/usable_cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace memgate {
namespace {

TEST(UsableCoresTest, FollowsTheAffinityOfTheThread) {
  EXPECT_GE(UsableCores(), 1);
  std::thread([] {
    cpu_set_t mask;
    ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
    int first = 0;
    while (!CPU_ISSET(first, &mask)) ++first;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    ASSERT_EQ(sched_setaffinity(0, sizeof(mask), &mask), 0);
    EXPECT_EQ(UsableCores(), 1);
  }).join();
}

TEST(UsableCoresTest, QuotaIsRoundedUpToCores) {
  EXPECT_EQ(QuotaCores("200000 100000"), 2);
  EXPECT_EQ(QuotaCores("150000 100000"), 2);
  EXPECT_EQ(QuotaCores("1000 100000"), 1);
  EXPECT_EQ(QuotaCores("9223372036854775807 1"), CPU_SETSIZE);
}

TEST(UsableCoresTest, OtherTextIsNoQuota) {
  for (const char* text : {"max 100000", "", "200000", "200000 0", "0 100000", "-1 100000", "2 1 1", "x 1"}) {
    EXPECT_EQ(QuotaCores(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace memgate
