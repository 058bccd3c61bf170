#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"

namespace memgate {
namespace {

class EngineMemoryReportTest : public EngineFixture {
 protected:
  static MemoryReport Report(Engine& engine, const std::shared_ptr<Session>& session) {
    return engine.ReportMemory(*Lease(engine, session), RetainedPositions::kList);
  }
};

TEST_F(EngineMemoryReportTest, RetainedPositionsAreAscendingDistinctAndFolded) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(200, 1));
  const SessionInfo info = engine->Describe(*session);
  const int64_t folded = info.memory_writes * info.shape.segment;
  const MemoryReport report = Report(*engine, session);
  ASSERT_EQ(report.layers.size(), 2u);
  for (const LayerReport& layer : report.layers) {
    ASSERT_EQ(layer.salient.size(), 2u);
    for (const SalientReport& slots : layer.salient) {
      ASSERT_EQ(slots.positions.size(), static_cast<size_t>(info.shape.salient));
      // No two neighbours of which the first is not smaller.
      EXPECT_EQ(std::adjacent_find(slots.positions.begin(), slots.positions.end(), std::greater_equal<>()),
                slots.positions.end());
      EXPECT_GE(slots.positions.front(), info.shape.sinks);
      EXPECT_LT(slots.positions.back(), info.shape.sinks + folded);
      EXPECT_LE(slots.lowest_score, slots.median_score);
      EXPECT_LE(slots.median_score, slots.highest_score);
    }
  }
}

TEST_F(EngineMemoryReportTest, AgreesWithTheSessionsDescriptionAndChangesNothing) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  Generate(*engine, session, RandomTokens(90, 2), 7);
  const std::string before = Snapshot(*engine, session);
  const SessionInfo info = engine->Describe(*session);
  const MemoryReport report = Report(*engine, session);
  EXPECT_EQ(report.accounting.total, info.accounting.total);
  EXPECT_EQ(report.accounting.total, 97) << "the pending token counts";
  EXPECT_EQ(report.accounting.exact, info.accounting.exact);
  EXPECT_EQ(report.accounting.salient, info.accounting.salient);
  EXPECT_EQ(report.accounting.compressed, info.accounting.compressed);
  EXPECT_EQ(report.accounting.forgotten, info.accounting.forgotten);
  EXPECT_EQ(report.memory_writes, info.memory_writes);
  EXPECT_EQ(Snapshot(*engine, session), before);
}

TEST_F(EngineMemoryReportTest, CompressiveKindsTellGatesAndAGrowingNorm) {
  auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kInfiniDelta});
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(20, 3));
  for (const LayerReport& layer : Report(*engine, session).layers) {
    EXPECT_EQ(layer.memory_norms, std::vector<float>(2, 0.0f));
  }
  Ingest(*engine, session, RandomTokens(100, 4));
  for (const LayerReport& layer : Report(*engine, session).layers) {
    EXPECT_THAT(layer.gates, testing::SizeIs(4));
    EXPECT_THAT(layer.gates, testing::Each(testing::AllOf(testing::Gt(0), testing::Lt(1))));
    EXPECT_THAT(layer.memory_norms, testing::SizeIs(2));
    EXPECT_THAT(layer.memory_norms, testing::Each(testing::Gt(0)));
    EXPECT_TRUE(layer.salient.empty());
  }
}

TEST_F(EngineMemoryReportTest, ARestoredSessionReportsTheSame) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(120, 5));
  const MemoryReport before = Report(*engine, session);
  const MemoryReport after = Report(*engine, *engine->Import(Snapshot(*engine, session)));
  for (size_t l = 0; l < before.layers.size(); ++l) {
    for (size_t g = 0; g < before.layers[l].salient.size(); ++g) {
      EXPECT_EQ(before.layers[l].salient[g].positions, after.layers[l].salient[g].positions);
      EXPECT_EQ(before.layers[l].salient[g].median_score, after.layers[l].salient[g].median_score);
    }
  }
}

}  // namespace
}  // namespace memgate
