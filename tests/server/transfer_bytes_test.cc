#include "server/transfer_bytes.h"

#include <gtest/gtest.h>

#include <string>

namespace memgate {
namespace {

TEST(TransferBytesTest, RefusesWhatTheBudgetDoesNotHave) {
  ByteAccountant budget(int64_t{1000});
  TransferBytes transfers([&](int64_t bytes) { return budget.Reserve(bytes, "a snapshot"); });
  TransferBytes::Buffer buffer(transfers);
  ASSERT_TRUE(buffer.Append(std::string(600, 'a')).ok());
  const absl::Status status = buffer.Append(std::string(600, 'b'));
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(buffer.data(), std::string(600, 'a'));
}

TEST(TransferBytesTest, TransfersShareTheBudgetAndGiveItBack) {
  ByteAccountant budget(int64_t{1000});
  TransferBytes transfers([&](int64_t bytes) { return budget.Reserve(bytes, "a snapshot"); });
  {
    TransferBytes::Buffer first(transfers);
    TransferBytes::Buffer second(transfers);
    ASSERT_TRUE(first.Append(std::string(700, 'a')).ok());
    EXPECT_FALSE(second.Append(std::string(700, 'b')).ok());
  }
  EXPECT_EQ(budget.reserved_bytes(), 0);
  TransferBytes::Buffer third(transfers);
  EXPECT_TRUE(third.Append(std::string(1000, 'c')).ok());
}

TEST(TransferBytesTest, KeepsWhatWasAppendedPieceByPiece) {
  ByteAccountant budget(int64_t{1} << 20);
  TransferBytes transfers([&](int64_t bytes) { return budget.Reserve(bytes, "a snapshot"); });
  TransferBytes::Buffer buffer(transfers);
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece(i % 7, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(buffer.Append(piece).ok());
    expected += piece;
  }
  EXPECT_EQ(buffer.data(), expected);
}

TEST(TransferBytesTest, FillAsksBeforeItMakes) {
  ByteAccountant budget(int64_t{10});
  TransferBytes transfers([&](int64_t bytes) { return budget.Reserve(bytes, "a snapshot"); });
  TransferBytes::Buffer buffer(transfers);
  bool made = false;
  EXPECT_FALSE(buffer
                   .Fill(11,
                         [&]() -> absl::StatusOr<std::string> {
                           made = true;
                           return std::string(11, 'x');
                         })
                   .ok());
  EXPECT_FALSE(made);
}

}  // namespace
}  // namespace memgate
