#include "engine/session/shape.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/reference/gated_rule.h"

namespace memgate {
namespace {

TEST(SessionShapeTest, FoldsTheOldestSegmentWhenTheWindowIsFull) {
  const SessionShape shape{.sinks = 4, .window = 10, .segment = 5, .salient = 3};
  EXPECT_EQ(shape.exact_capacity(), 19);
  EXPECT_EQ(shape.rows(), 22);
  EXPECT_EQ(shape.far_distance(), 15);
  const struct {
    int64_t position, folded, until;
  } table[] = {{0, 0, 19}, {3, 0, 16}, {4, 0, 15}, {13, 0, 6},  {14, 0, 5},  {18, 0, 1},
               {19, 5, 5}, {20, 5, 4}, {23, 5, 1}, {24, 10, 5}, {28, 10, 1}, {1'000'019, 1'000'005, 5}};
  for (const auto& row : table) {
    EXPECT_EQ(shape.FoldedAt(row.position), row.folded) << row.position;
    EXPECT_EQ(shape.TokensUntilFold(row.position), row.until) << row.position;
  }
}

TEST(SessionShapeTest, SegmentOfOneSlidesTokenByToken) {
  const SessionShape shape{.sinks = 2, .window = 3, .segment = 1};
  for (int64_t position = 0; position < 20; ++position) {
    EXPECT_EQ(shape.FoldedAt(position), std::max<int64_t>(0, position - 5));
    EXPECT_EQ(shape.TokensUntilFold(position), position < 5 ? 6 - position : 1);
  }
}

TEST(SessionShapeTest, FollowsItsDefinitionAtEveryPosition) {
  for (const SessionShape shape : {SessionShape{0, 1, 1}, SessionShape{0, 7, 3}, SessionShape{5, 1, 9},
                                   SessionShape{3, 16, 4}, SessionShape{4, 256, 64}}) {
    for (int64_t position = 0; position < 700; ++position) {
      const int64_t folded = shape.FoldedAt(position);
      ASSERT_EQ(folded, reference::FoldedTokens(shape, position)) << position;
      // All tokens of a chunk see the same memory, the next one another.
      const int64_t until = shape.TokensUntilFold(position);
      ASSERT_GE(until, 1);
      ASSERT_EQ(shape.FoldedAt(position + until - 1), folded) << position;
      ASSERT_EQ(shape.FoldedAt(position + until), folded + shape.segment) << position;
      // What is not folded fits.
      ASSERT_LE(position + 1 - folded, shape.exact_capacity()) << position;
    }
  }
}

TEST(SessionShapeTest, ExactShapesHoldTheirTokensAndFoldNone) {
  for (const int64_t tokens : {1, 2, 3, 256, 257, 258, 1000, 1 << 20}) {
    const SessionShape shape = SessionShape::Exact(tokens);
    EXPECT_TRUE(shape.Validate().ok()) << tokens;
    EXPECT_GE(shape.exact_capacity(), tokens);
    EXPECT_LE(shape.exact_capacity(), std::max<int64_t>(2, tokens));
    EXPECT_EQ(shape.FoldedAt(tokens - 1), 0) << tokens;
  }
}

// It folds wherever the session does, holds the layer's window in front of every query if the session holds
// so much, and not a segment more.
TEST(SessionShapeTest, LocalLayersHoldTheirWindowInFewestSegments) {
  for (const SessionShape shape : {SessionShape{0, 1, 1}, SessionShape{4, 100, 16}, SessionShape{3, 30, 7, 9},
                                   SessionShape{0, 64, 32}, SessionShape{5, 7, 50}}) {
    for (int64_t window = 1; window < shape.exact_capacity(); ++window) {
      const SessionShape local = shape.OfLocalLayer(window);
      EXPECT_EQ(local.sinks, 0);
      EXPECT_EQ(local.salient, 0);
      EXPECT_EQ(local.segment, shape.segment);
      const int64_t held = shape.sinks + shape.window;
      EXPECT_EQ((held - local.window) % shape.segment, 0);
      EXPECT_LE(local.window, held);
      EXPECT_GE(local.window, std::min(held, window - 1));
      EXPECT_LT(local.window, window - 1 + shape.segment);
    }
  }
}

TEST(SessionShapeTest, ValidateNamesTheFieldOutOfRange) {
  EXPECT_TRUE(SessionShape{}.Validate().ok());
  EXPECT_TRUE((SessionShape{0, 1, 1, 0}.Validate().ok()));
  EXPECT_TRUE((SessionShape{4096, 1 << 20, 4096, 1 << 20}.Validate().ok()));
  const struct {
    SessionShape shape;
    const char* message;
  } table[] = {
      {{-1, 8, 4, 0}, "sink_tokens: -1 is outside [0, 4096] tokens"},
      {{4097, 8, 4, 0}, "sink_tokens: 4097 is outside [0, 4096] tokens"},
      {{4, 0, 4, 0}, "window_tokens: 0 is outside [1, 1048576] tokens"},
      {{4, (1 << 20) + 1, 4, 0}, "window_tokens: 1048577 is outside [1, 1048576] tokens"},
      {{4, 8, 0, 0}, "segment_tokens: 0 is outside [1, 4096] tokens"},
      {{4, 8, -5, 0}, "segment_tokens: -5 is outside [1, 4096] tokens"},
      {{4, 8, 4097, 0}, "segment_tokens: 4097 is outside [1, 4096] tokens"},
      {{4, 8, 4, -1}, "salient_tokens: -1 is outside [0, 1048576] tokens"},
      {{4, 8, 4, (1 << 20) + 1}, "salient_tokens: 1048577 is outside [0, 1048576] tokens"},
  };
  for (const auto& row : table) {
    const absl::Status status = row.shape.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), row.message);
  }
}

}  // namespace
}  // namespace memgate
