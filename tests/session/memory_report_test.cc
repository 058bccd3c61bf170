#include "engine/session/memory_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory_resource>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/session/scripted_session.h"

namespace memgate {
namespace {

constexpr SessionShape kShape = {.sinks = 2, .window = 8, .segment = 4, .salient = 5};
constexpr SessionShape kNoSlots = {.sinks = 2, .window = 8, .segment = 4, .salient = 0};

// Different for every layer and KV head, and the same for no two of the first hundred positions.
float Score(int layer, int kv_head, int64_t position) {
  return static_cast<float>((position * 37 + layer * 11 + kv_head * 5) % 101) / 10;
}

class MemoryReportTest : public testing::Test {
 protected:
  SessionState MakeSession(const MemoryKind& kind, const SessionShape& shape) {
    return SessionState(model_.Context(kind), shape, std::pmr::new_delete_resource());
  }

  ScriptedModel model_;
};

TEST_F(MemoryReportTest, LocalLayersHaveNothingToReport) {
  const ScriptedModel model(WindowedConfig());  // the second layer sees 6 tokens
  for (const auto& kind : model.kinds()) {
    SessionState session(model.Context(*kind), kind->HasRetention() ? kShape : kNoSlots,
                         std::pmr::new_delete_resource());
    Feed(model, session, 90, Score);
    const MemoryReport report = ReportMemory(session, 0, RetainedPositions::kList);
    ASSERT_EQ(report.layers.size(), 3u);
    EXPECT_TRUE(report.layers[1].gates.empty());
    EXPECT_TRUE(report.layers[1].memory_norms.empty());
    EXPECT_TRUE(report.layers[1].salient.empty());
    EXPECT_EQ(report.layers[0].salient.size(), kind->HasRetention() ? 3u : 0u);
    EXPECT_EQ(report.layers[2].memory_norms.size(), kind->StateFloats() > 0 ? 3u : 0u);
  }
}

TEST_F(MemoryReportTest, DescribesTheBestTokensOfEveryHead) {
  SessionState session = MakeSession(model_.memgate(), kShape);
  Feed(model_, session, 90, Score);
  ASSERT_GT(session.folded(), 60);
  const MemoryReport report = ReportMemory(session, 0, RetainedPositions::kList);
  ASSERT_EQ(report.layers.size(), 3u);
  for (int l = 0; l < 3; ++l) {
    ASSERT_EQ(report.layers[l].salient.size(), 3u);
    for (int g = 0; g < 3; ++g) {
      std::vector<std::pair<float, int64_t>> folded;
      for (int64_t p = 2; p < 2 + session.folded(); ++p) folded.push_back({Score(l, g, p), p});
      std::sort(folded.rbegin(), folded.rend());
      std::vector<int64_t> best;
      for (int i = 0; i < 5; ++i) best.push_back(folded[i].second);
      std::sort(best.begin(), best.end());
      const SalientReport& slots = report.layers[l].salient[g];
      EXPECT_EQ(slots.count, 5);
      EXPECT_EQ(slots.positions, best);
      EXPECT_EQ(slots.oldest_position, best.front());
      EXPECT_EQ(slots.newest_position, best.back());
      EXPECT_EQ(slots.highest_score, folded[0].first);
      EXPECT_EQ(slots.median_score, folded[2].first);
      EXPECT_EQ(slots.lowest_score, folded[4].first);
    }
  }
}

TEST_F(MemoryReportTest, CountsWhatIsHeldAndEveryFold) {
  SessionState session = MakeSession(model_.memgate(), kShape);
  Feed(model_, session, 30, Score);
  const MemoryReport report = ReportMemory(session, 1, RetainedPositions::kOmit);
  EXPECT_EQ(report.accounting.total, 31);
  EXPECT_EQ(report.accounting.salient, 5);
  EXPECT_EQ(report.memory_writes, session.folded() / 4);
  EXPECT_GT(report.memory_writes, 0);
}

TEST_F(MemoryReportTest, HasNoPositionsBeforeTheFirstFoldAndNoneUnasked) {
  SessionState session = MakeSession(model_.memgate(), kShape);
  Feed(model_, session, 14, Score);
  const MemoryReport early = ReportMemory(session, 0, RetainedPositions::kList);
  ASSERT_FALSE(early.layers[0].salient.empty());
  for (const SalientReport& slots : early.layers[0].salient) {
    EXPECT_EQ(slots.count, 0);
    EXPECT_TRUE(slots.positions.empty());
  }
  Feed(model_, session, 1, Score);
  EXPECT_EQ(ReportMemory(session, 0, RetainedPositions::kList).layers[0].salient[0].positions.size(), 4u);
  const MemoryReport unasked = ReportMemory(session, 0, RetainedPositions::kOmit);
  EXPECT_EQ(unasked.layers[0].salient[0].count, 4);
  EXPECT_TRUE(unasked.layers[0].salient[0].positions.empty());
}

TEST_F(MemoryReportTest, AScoreThatIsNoNumberIsTheLowest) {
  SessionState session = MakeSession(model_.memgate(), kShape);
  Feed(model_, session, 15, [](int, int, int64_t position) {
    return position == 3 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(position);
  });
  const MemoryReport report = ReportMemory(session, 0, RetainedPositions::kOmit);
  const SalientReport& slots = report.layers[0].salient[0];  // positions 2 to 5
  EXPECT_EQ(slots.count, 4);
  EXPECT_EQ(slots.lowest_score, -std::numeric_limits<float>::infinity());
  EXPECT_EQ(slots.median_score, 2);
  EXPECT_EQ(slots.highest_score, 5);
}

TEST_F(MemoryReportTest, NormsAreThoseOfEachHeadsShareOfTheState) {
  SessionState session = MakeSession(model_.infini(), kNoSlots);
  const auto norms = [&](int layer) {
    return ReportMemory(session, 0, RetainedPositions::kOmit).layers[layer].memory_norms;
  };
  EXPECT_EQ(norms(1), std::vector<float>(3, 0.0f)) << "nothing was written";
  const absl::Span<float> memory = session.Layer(1).memory;
  const size_t share = memory.size() / 3;
  for (int g = 0; g < 3; ++g) {
    std::fill_n(memory.begin() + g * share, share, static_cast<float>(g) - 1.5f);
  }
  for (int g = 0; g < 3; ++g) {
    EXPECT_FLOAT_EQ(norms(1)[g], std::fabs(g - 1.5f) * std::sqrt(static_cast<float>(share)));
  }
  EXPECT_EQ(norms(0), std::vector<float>(3, 0.0f));
  EXPECT_TRUE(ReportMemory(session, 0, RetainedPositions::kOmit).layers[0].salient.empty());
}

TEST_F(MemoryReportTest, GatesAreThoseOfTheKind) {
  SessionState session = MakeSession(model_.infini(), kNoSlots);
  const MemoryReport report = ReportMemory(session, 0, RetainedPositions::kOmit);
  const float untrained = 1 / (1 + std::exp(4.0f));
  for (const LayerReport& layer : report.layers) {
    ASSERT_EQ(layer.gates.size(), 6u);
    for (const float gate : layer.gates) EXPECT_NEAR(gate, untrained, 1e-6);
  }
}

TEST_F(MemoryReportTest, WindowKindHasNothingButItsAccount) {
  SessionState session = MakeSession(model_.window(), kNoSlots);
  Feed(model_, session, 40);
  const MemoryReport report = ReportMemory(session, 0, RetainedPositions::kList);
  EXPECT_EQ(report.accounting.total, 40);
  ASSERT_EQ(report.layers.size(), 3u);
  for (const LayerReport& layer : report.layers) {
    EXPECT_TRUE(layer.gates.empty() && layer.memory_norms.empty() && layer.salient.empty());
  }
}

TEST_F(MemoryReportTest, ReadingChangesNothing) {
  SessionState session = MakeSession(model_.matrix(), kShape);
  Feed(model_, session, 60, Score);
  const std::string before = Live(session);
  const MemoryReport report = ReportMemory(session, 0, RetainedPositions::kList);
  EXPECT_GT(report.layers[2].memory_norms[2], 0);
  EXPECT_EQ(Live(session), before);
}

}  // namespace
}  // namespace memgate
