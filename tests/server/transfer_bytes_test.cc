#include "server/transfer_bytes.h"

#include <gtest/gtest.h>

#include <string>

namespace memgate {
namespace {

TEST(TransferBytesTest, RefusesWhatTheBudgetDoesNotHave) {
  TransferBytes transfers([] { return int64_t{1000}; });
  TransferBytes::Buffer buffer(transfers);
  ASSERT_TRUE(buffer.Append(std::string(600, 'a')).ok());
  const absl::Status status = buffer.Append(std::string(600, 'b'));
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(ReasonOf(status), "MEMORY_BUDGET");
  EXPECT_EQ(buffer.data(), std::string(600, 'a'));
}

TEST(TransferBytesTest, TransfersShareTheBudgetAndGiveItBack) {
  TransferBytes transfers([] { return int64_t{1000}; });
  {
    TransferBytes::Buffer first(transfers);
    TransferBytes::Buffer second(transfers);
    ASSERT_TRUE(first.Append(std::string(700, 'a')).ok());
    EXPECT_FALSE(second.Append(std::string(700, 'b')).ok());
  }
  TransferBytes::Buffer third(transfers);
  EXPECT_TRUE(third.Append(std::string(1000, 'c')).ok());
}

TEST(TransferBytesTest, KeepsWhatWasAppendedPieceByPiece) {
  TransferBytes transfers([] { return int64_t{1} << 20; });
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
  TransferBytes transfers([] { return int64_t{10}; });
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
