#include "client/commands/session_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace memgate {
namespace {

using testing::HasSubstr;

v1::SalientSlots Slots(const std::vector<int64_t>& positions) {
  v1::SalientSlots slots;
  slots.set_used(static_cast<int32_t>(positions.size()));
  slots.set_oldest_position(positions.front());
  slots.set_newest_position(positions.back());
  slots.set_lowest_score(-1.5);
  slots.set_median_score(0.25);
  slots.set_highest_score(12);
  slots.mutable_positions()->Assign(positions.begin(), positions.end());
  return slots;
}

// One layer with two KV heads that hold `first` and `second`.
v1::SessionMemory Holding(const std::vector<int64_t>& first, const std::vector<int64_t>& second) {
  v1::SessionMemory memory;
  memory.mutable_shape()->set_salient_tokens(256);
  v1::LayerMemory* layer = memory.add_layers();
  *layer->add_kv_heads()->mutable_salient() = Slots(first);
  *layer->add_kv_heads()->mutable_salient() = Slots(second);
  return memory;
}

TEST(SessionMemoryTest, SlotsAreShownByLayerAndHead) {
  EXPECT_EQ(DescribeMemory(Holding({4, 1200}, {7})),
            "layer  KV head     slots   positions  scores (lowest / median / highest)\n"
            "    0        0  2 of 256  4 .. 1,200  -1.50 / 0.25 / 12.00\n"
            "    0        1  1 of 256      7 .. 7  -1.50 / 0.25 / 12.00\n");
}

TEST(SessionMemoryTest, FewGatesAreListedAndManySummarised) {
  v1::SessionMemory memory;
  v1::LayerMemory* few = memory.add_layers();
  v1::LayerMemory* many = memory.add_layers();
  for (v1::LayerMemory* layer : {few, many}) {
    layer->add_kv_heads()->set_memory_norm(1234.56);
    layer->add_kv_heads()->set_memory_norm(0);
  }
  for (const float gate : {0.018f, 0.5f, 0.25f, 1.0f}) few->add_gates(gate);
  for (int h = 0; h < 10; ++h) many->add_gates(0.1f * static_cast<float>(h));
  EXPECT_EQ(DescribeMemory(memory),
            "layer  KV head                       gates  memory norm\n"
            "    0        0                 0.018 0.500         1235\n"
            "    0        1                 0.250 1.000            0\n"
            "    1        0  0.000 .. 0.400, mean 0.200         1235\n"
            "    1        1  0.500 .. 0.900, mean 0.700            0\n");
}

TEST(SessionMemoryTest, EmptySlotsHaveNoPositionsAndNoScores) {
  v1::SessionMemory memory;
  memory.mutable_shape()->set_salient_tokens(8);
  memory.add_layers()->add_kv_heads()->mutable_salient()->set_used(0);
  EXPECT_THAT(DescribeMemory(memory), HasSubstr("\n    0        0  0 of 8\n"));
  EXPECT_EQ(ListPositions(memory), "");
  EXPECT_EQ(PositionHistogram(memory, 10), "");
}

TEST(SessionMemoryTest, LayersWithAWindowOfTheirOwnHaveNoSlots) {
  v1::SessionMemory memory = Holding({4, 1200}, {7});
  memory.add_layers()->add_kv_heads();
  EXPECT_EQ(DescribeMemory(memory),
            "layer  KV head  slots     positions   scores (lowest / median / highest)\n"
            "    0        0  2 of 256  4 .. 1,200  -1.50 / 0.25 / 12.00\n"
            "    0        1  1 of 256  7 .. 7      -1.50 / 0.25 / 12.00\n"
            "    1        0\n");
}

TEST(SessionMemoryTest, AWindowHasNoTable) {
  v1::SessionMemory memory;
  memory.add_layers()->add_kv_heads();
  EXPECT_EQ(DescribeMemory(memory), "no memory beside sinks and window\n");
}

TEST(SessionMemoryTest, NeighboursAreListedAsRuns) {
  EXPECT_EQ(ListPositions(Holding({4, 5, 6, 9, 11, 12}, {7})),
            "layer 0, KV head 0: 4-6 9 11-12\n"
            "layer 0, KV head 1: 7\n");
}

TEST(SessionMemoryTest, HistogramSpansTheWholeSession) {
  v1::SessionMemory memory = Holding({0, 1, 2, 3, 50}, {4, 5, 6, 7, 999});
  memory.mutable_accounting()->set_total_tokens(1000);
  EXPECT_EQ(PositionHistogram(memory, 10),
            "█        ▁\n"
            "0    1,000\n");
}

TEST(SessionMemoryTest, HistogramBarsAreInProportion) {
  std::vector<int64_t> positions;
  for (int64_t p = 0; p < 8; ++p) positions.push_back(p);    // the first column: 8
  for (int64_t p = 10; p < 14; ++p) positions.push_back(p);  // the second: 4
  for (int64_t p = 20; p < 21; ++p) positions.push_back(p);  // the third: 1
  v1::SessionMemory memory = Holding(positions, {39});
  memory.mutable_accounting()->set_total_tokens(40);
  EXPECT_THAT(PositionHistogram(memory, 4), HasSubstr("█▄▁▁\n"));
}

}  // namespace
}  // namespace memgate
