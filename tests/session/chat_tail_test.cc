#include "engine/session/chat_tail.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace memgate {
namespace {

ChatTail Answered(std::vector<int32_t> answer) {
  return {.state = ChatTail::State::kAnswer, .system = "Be kind.", .answer = std::move(answer)};
}

TEST(ChatTailTest, OnlyAnAnswerThatIsKnownGoesOn) {
  ChatTail tail = Answered({1});
  tail.Append(2);
  EXPECT_EQ(tail.answer, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(tail.HeldBytes(), 8 + 2 * 4);
  tail.LoseAnswer();
  tail.Append(3);
  EXPECT_EQ(tail.state, ChatTail::State::kUnknownAnswer);
  EXPECT_TRUE(tail.answer.empty());
  EXPECT_TRUE(tail.follows_answer());
  EXPECT_EQ(tail.match, ChatMatch::kTokens) << "what is before the answer is as it was";
}

TEST(ChatTailTest, HoldsNoMoreThanItMay) {
  ChatTail tail = Answered({});
  const int64_t most = (ChatTail::kMaxBytes - 8) / 4;
  for (int64_t i = 0; i < most; ++i) tail.Append(1);
  EXPECT_EQ(tail.HeldBytes(), ChatTail::kMaxBytes);
  tail.Append(1);
  EXPECT_EQ(tail.state, ChatTail::State::kUnknownAnswer);
  EXPECT_EQ(tail.HeldBytes(), 8);
}

TEST(ChatTailTest, OtherTextBehindAChatLeavesItUnknown) {
  ChatTail tail = Answered({1});
  tail.ended = true;
  tail.Interrupt();
  EXPECT_EQ(tail.state, ChatTail::State::kOther);
  EXPECT_EQ(tail.match, ChatMatch::kUnknown);
  EXPECT_FALSE(tail.ended);
  EXPECT_FALSE(tail.follows_answer());
  EXPECT_EQ(tail.system, "Be kind.");
  tail.match = ChatMatch::kChanged;
  tail.Interrupt();
  EXPECT_EQ(tail.match, ChatMatch::kChanged) << "it becomes no better";
  ChatTail none;
  none.Interrupt();
  EXPECT_EQ(none.state, ChatTail::State::kNone);
  EXPECT_EQ(none.match, ChatMatch::kTokens);
}

TEST(ChatTailTest, WithoutItsTextsItHoldsNothing) {
  ChatTail tail = Answered({1, 2, 3});
  tail.LoseTexts();
  EXPECT_EQ(tail.HeldBytes(), 0);
  EXPECT_EQ(tail.state, ChatTail::State::kUnknownAnswer);
  EXPECT_EQ(tail.match, ChatMatch::kUnknown);
}

}  // namespace
}  // namespace memgate
