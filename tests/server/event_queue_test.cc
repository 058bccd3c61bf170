#include "server/event_queue.h"

#include <gtest/gtest.h>

#include <string>

namespace memgate {
namespace {

v1::GenerateResponse Delta(const std::string& text, int32_t id) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->add_token_ids(id);
  event.mutable_delta()->add_logprobs()->mutable_chosen()->set_token_id(id);
  return event;
}

TEST(EventQueueTest, HandsEventsOutInOrder) {
  EventQueue queue(8);
  queue.Push(Delta("a", 1));
  queue.Push(Delta("b", 2));
  EXPECT_EQ(queue.Pop()->delta().text(), "a");
  EXPECT_EQ(queue.Pop()->delta().text(), "b");
  EXPECT_FALSE(queue.Pop().has_value());
}

TEST(EventQueueTest, JoinsDeltasOnceTheLimitIsReachedAndLosesNothing) {
  EventQueue queue(3);
  std::string text;
  v1::GenerateResponse route;
  route.mutable_route()->set_prompt_tokens(5);
  queue.Push(route);
  for (int i = 0; i < 100; ++i) queue.Push(Delta("x" + std::to_string(i), i));
  v1::GenerateResponse done;
  done.mutable_done()->set_matched_stop("!");
  queue.Push(done);
  EXPECT_EQ(queue.size(), 4u);

  EXPECT_TRUE(queue.Pop()->has_route());
  int next = 0;
  while (queue.size() > 1) {
    const v1::GenerateResponse event = *queue.Pop();
    text += event.delta().text();
    ASSERT_EQ(event.delta().token_ids_size(), event.delta().logprobs_size());
    for (int i = 0; i < event.delta().token_ids_size(); ++i) {
      EXPECT_EQ(event.delta().token_ids(i), next);
      EXPECT_EQ(event.delta().logprobs(i).chosen().token_id(), next++);
    }
  }
  EXPECT_EQ(next, 100);
  EXPECT_EQ(text.substr(0, 6), "x0x1x2");
  EXPECT_EQ(queue.Pop()->done().matched_stop(), "!");
}

TEST(EventQueueTest, NoMessageOutgrowsWhatClientsAccept) {
  EventQueue queue(1);
  const std::string part(300 << 10, 'y');
  for (int i = 0; i < 20; ++i) queue.Push(Delta(part, i));
  size_t total = 0;
  while (const auto event = queue.Pop()) {
    EXPECT_LE(event->ByteSizeLong(), EventQueue::kMaxMergedBytes);
    total += event->delta().text().size();
  }
  EXPECT_EQ(total, 20 * part.size());
}

}  // namespace
}  // namespace memgate
