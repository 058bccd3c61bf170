#include "engine/session/byte_accountant.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

namespace memgate {
namespace {

TEST(ByteAccountantTest, GivesOutTheBudgetAndNotAByteMore) {
  ByteAccountant accountant(100);
  auto first = accountant.Reserve(60, "first");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->bytes(), 60);
  EXPECT_EQ(accountant.reserved_bytes(), 60);
  const auto refused = accountant.Reserve(41, "session");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(), "session needs 41 bytes; 40 of the memory budget of 100 are left");
  EXPECT_EQ(accountant.reserved_bytes(), 60);
  EXPECT_TRUE(accountant.Reserve(40, "the rest").ok());
  EXPECT_TRUE(accountant.Reserve(0, "nothing").ok());
}

TEST(ByteAccountantTest, RefusesAbsurdAmounts) {
  ByteAccountant accountant(100);
  const auto held = accountant.Reserve(100, "all");
  ASSERT_TRUE(held.ok());
  EXPECT_EQ(accountant.Reserve(std::numeric_limits<int64_t>::max(), "x").status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(accountant.Reserve(-1, "x").status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(accountant.reserved_bytes(), 100);
}

TEST(ByteAccountantTest, AReservationMayShrink) {
  ByteAccountant accountant(100);
  auto reservation = accountant.Reserve(80, "a draft");
  ASSERT_TRUE(reservation.ok());
  reservation->ShrinkTo(90);
  EXPECT_EQ(accountant.reserved_bytes(), 80);
  reservation->ShrinkTo(30);
  EXPECT_EQ(reservation->bytes(), 30);
  EXPECT_EQ(accountant.reserved_bytes(), 30);
  reservation->Release();
  reservation->ShrinkTo(0);
  EXPECT_EQ(accountant.reserved_bytes(), 0);
}

TEST(ByteAccountantTest, AReservationGrowsAsFarAsTheBudgetAllowsAndIsElseAsItWas) {
  ByteAccountant accountant(100);
  auto reservation = accountant.Reserve(30, "a session");
  ASSERT_TRUE(reservation.ok());
  EXPECT_TRUE(reservation->ResizeTo(80, "more").ok());
  EXPECT_EQ(reservation->bytes(), 80);
  EXPECT_EQ(accountant.reserved_bytes(), 80);
  const absl::Status refused = reservation->ResizeTo(101, "more");
  EXPECT_EQ(refused.message(), "more needs 21 bytes; 20 of the memory budget of 100 are left");
  EXPECT_EQ(accountant.reserved_bytes(), 80);
  EXPECT_TRUE(reservation->ResizeTo(10, "less").ok());
  EXPECT_EQ(accountant.reserved_bytes(), 10);
  reservation->Release();
  EXPECT_EQ(accountant.reserved_bytes(), 0);
  EXPECT_EQ(Reservation().ResizeTo(1, "x").code(), absl::StatusCode::kInternal);
}

TEST(ByteAccountantTest, BytesComeBackOnceHoweverTheReservationMoves) {
  ByteAccountant accountant(100);
  {
    auto first = accountant.Reserve(30, "first");
    auto second = accountant.Reserve(50, "second");
    ASSERT_TRUE(first.ok() && second.ok());
    Reservation moved = *std::move(first);
    EXPECT_EQ(first->bytes(), 0);
    EXPECT_EQ(accountant.reserved_bytes(), 80);
    moved = *std::move(second);  // gives back what it held
    EXPECT_EQ(accountant.reserved_bytes(), 50);
    Reservation& itself = moved;
    moved = std::move(itself);
    EXPECT_EQ(accountant.reserved_bytes(), 50);
    moved.Release();
    moved.Release();
    EXPECT_EQ(accountant.reserved_bytes(), 0);
  }
  EXPECT_EQ(accountant.reserved_bytes(), 0);
}

TEST(ByteAccountantTest, NeverExceedsTheBudgetUnderContention) {
  ByteAccountant accountant(1000);
  std::atomic<int64_t> held{0};
  std::atomic<bool> exceeded{false};
  std::atomic<int64_t> granted{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 2000; ++round) {
        const int64_t bytes = 100 + (round * 7 + i * 131) % 400;
        auto reservation = accountant.Reserve(bytes, "thread");
        if (!reservation.ok()) continue;
        ++granted;
        if (held.fetch_add(bytes) + bytes > 1000) exceeded = true;
        held.fetch_sub(bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_GT(granted, 0);
  EXPECT_EQ(accountant.reserved_bytes(), 0);
}

}  // namespace
}  // namespace memgate
