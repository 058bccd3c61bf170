// One chunk over one session, on made-up queries, keys and values. Whole models: tests/model/.
#include "engine/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory_resource>
#include <string>
#include <vector>

#include "engine/kernels/parallel.h"
#include "engine/memory/infini.h"
#include "engine/memory/memgate.h"
#include "tests/reference/compare.h"
#include "tests/reference/gated_rule.h"

namespace memgate {
namespace {

using reference::RandomFloats;
using reference::ToDouble;

// For each format of keys and values.
class AttentionTest : public testing::TestWithParam<KvFormat> {
 protected:
  static constexpr int kTokens = 60;

  AttentionTest() {
    SetComputeThreads(1);
    config_.num_layers = 2;
    config_.hidden_size = 9;
    config_.num_heads = 6;
    config_.num_kv_heads = 2;
    config_.head_dim = 6;
    retention_ = {RandomFloats(1, 2 * 2 * 9), RandomFloats(2, 2 * 2)};
    betas_ = RandomFloats(3, 2 * 6);
    qkv_ = RandomFloats(4, kTokens * Width());
    inputs_ = RandomFloats(5, kTokens * config_.hidden_size);
  }

  int Width() const { return (config_.num_heads + 2 * config_.num_kv_heads) * config_.head_dim; }

  // Attention of layer 1 over all tokens, `chunk` at a time. [T, H, D]
  std::vector<float> Run(const MemoryKind& kind, const SessionShape& shape, int chunk) const {
    const LayerRopes ropes(config_);
    const Rope& rope = ropes.At(0, shape.exact_capacity());
    SessionState session({&config_, &kind, &ropes, GetParam()}, shape, std::pmr::new_delete_resource());
    const int h = config_.num_heads, g = config_.num_kv_heads, d = config_.head_dim;
    std::vector<float> out(kTokens * h * d), far_angles(d);
    rope.Angles(shape.far_distance(), far_angles.data());
    while (session.length() < kTokens) {
      const int64_t begin = session.length();
      const int tokens =
          static_cast<int>(std::min({int64_t{chunk}, kTokens - begin, session.TokensUntilFold()}));
      std::vector<float> angles(tokens * d);
      for (int t = 0; t < tokens; ++t) rope.Angles(begin + t, &angles[t * d]);
      session.Prepare(tokens);
      const float* queries = &qkv_[begin * Width()];
      AttendChunk({.session = &session,
                   .layer = 1,
                   .tokens = tokens,
                   .queries = queries,
                   .keys = queries + h * d,
                   .values = queries + (h + g) * d,
                   .row_stride = Width(),
                   .layer_input = &inputs_[begin * config_.hidden_size],
                   .angles = angles.data(),
                   .far_angles = far_angles.data()},
                  &out[begin * h * d]);
      session.Commit(tokens);
    }
    return out;
  }

  // How far rounded keys and values may lie from the definition, which rounds nothing.
  static double Tolerance() {
    switch (GetParam()) {
      case KvFormat::kF32:
        return 1e-5;
      case KvFormat::kBf16:
        return 1e-2;
      case KvFormat::kInt8:
        return 2e-2;
    }
    return 0;
  }

  // The same by definition.
  reference::Vector Expected(reference::MemoryRule rule, const SessionShape& shape) const {
    const int h = config_.num_heads, g = config_.num_kv_heads, d = config_.head_dim, c = config_.hidden_size;
    const auto row = [&](int64_t at) { return ToDouble(absl::MakeConstSpan(qkv_).subspan(at, d)); };
    reference::Vector out;
    for (int t = 0; t < kTokens; ++t) {
      for (int head = 0; head < h; ++head) {
        const int kv = head / (h / g);
        reference::HeadHistory history;
        for (int i = 0; i < kTokens; ++i) {
          history.keys.push_back(row(i * Width() + (h + kv) * d));
          history.values.push_back(row(i * Width() + (h + g + kv) * d));
          const auto u = ToDouble(absl::MakeConstSpan(retention_.weight).subspan((g + kv) * c, c));
          const auto input = ToDouble(absl::MakeConstSpan(inputs_).subspan(i * c, c));
          history.scores.push_back(reference::Dot(u, input) + retention_.bias[g + kv]);
        }
        const auto attended = reference::AttendHead(
            {.rule = rule, .shape = shape},
            {.layer = {.window = config_.layer(1).window, .cap = config_.attention_softcap},
             .beta = betas_[h + head]},
            history, reference::RopeFrequencies({}, d), row(t * Width() + head * d), t);
        out.insert(out.end(), attended.begin(), attended.end());
      }
    }
    return out;
  }

  ModelConfig config_;
  RetentionWeights retention_;
  std::vector<float> betas_;
  std::vector<float> qkv_;     // [T, (H + 2G) D]
  std::vector<float> inputs_;  // [T, C]
};

TEST_P(AttentionTest, IsPlainCausalAttentionWhileNothingWasFolded) {
  const auto expected = Expected(reference::MemoryRule::kUnbounded, {});
  const auto kind = MakeWindowKind();
  for (const int chunk : {60, 7, 1}) {
    EXPECT_LT(
        reference::RelativeError(Run(*kind, {.sinks = 5, .window = 40, .segment = 15}, chunk), expected),
        Tolerance());
  }
}

TEST_P(AttentionTest, EqualsTheDefinitionForEveryKind) {
  const auto window = MakeWindowKind();
  const auto memgate = MakeMemgateKind(config_, retention_);
  const auto infini = MakeInfiniKind(config_, InfiniRule::kLinear, betas_);
  const auto delta = MakeInfiniKind(config_, InfiniRule::kDelta, betas_);
  for (const SessionShape shape :
       {SessionShape{2, 8, 4, 0}, SessionShape{0, 3, 1, 0}, SessionShape{7, 1, 5, 0}}) {
    SessionShape salient = shape;
    salient.salient = 5;
    for (const int chunk : {60, 3}) {
      EXPECT_LT(reference::RelativeError(Run(*window, shape, chunk),
                                         Expected(reference::MemoryRule::kForget, shape)),
                Tolerance());
      EXPECT_LT(reference::RelativeError(Run(*memgate, salient, chunk),
                                         Expected(reference::MemoryRule::kSalient, salient)),
                Tolerance());
      EXPECT_LT(reference::RelativeError(Run(*infini, shape, chunk),
                                         Expected(reference::MemoryRule::kInfini, shape)),
                Tolerance());
      EXPECT_LT(reference::RelativeError(Run(*delta, shape, chunk),
                                         Expected(reference::MemoryRule::kInfiniDelta, shape)),
                Tolerance());
    }
  }
}

// The first shape holds less than the window, so its layers are not local; the last lets go of tokens that
// the window would still show.
TEST_P(AttentionTest, LayersWithAWindowEqualTheDefinitionForEveryKind) {
  config_.layers = {{}, {.window = 9}};
  const auto window = MakeWindowKind();
  const auto memgate = MakeMemgateKind(config_, retention_);
  const auto infini = MakeInfiniKind(config_, InfiniRule::kLinear, betas_);
  for (const SessionShape shape :
       {SessionShape{2, 4, 3, 0}, SessionShape{2, 8, 4, 0}, SessionShape{3, 30, 7, 0},
        SessionShape{0, 8, 1, 0}, SessionShape{1, 5, 6, 0}}) {
    SessionShape salient = shape;
    salient.salient = 5;
    for (const int chunk : {60, 3}) {
      EXPECT_LT(reference::RelativeError(Run(*window, shape, chunk),
                                         Expected(reference::MemoryRule::kForget, shape)),
                Tolerance());
      EXPECT_LT(reference::RelativeError(Run(*memgate, salient, chunk),
                                         Expected(reference::MemoryRule::kSalient, salient)),
                Tolerance());
      EXPECT_LT(reference::RelativeError(Run(*infini, shape, chunk),
                                         Expected(reference::MemoryRule::kInfini, shape)),
                Tolerance());
    }
  }
}

// However little a session holds, as long as it holds the window: the base model's own attention.
TEST_P(AttentionTest, LocalLayersAreThoseOfTheExactPathBitForBit) {
  config_.layers = {{}, {.window = 9}};
  const auto kind = MakeMemgateKind(config_, retention_);
  const std::vector<float> exact = Run(*kind, SessionShape::Exact(kTokens), kTokens);
  const auto plain = Expected(reference::MemoryRule::kUnbounded, {});
  EXPECT_LT(reference::RelativeError(exact, plain), Tolerance());
  for (const SessionShape shape :
       {SessionShape{2, 8, 4, 3}, SessionShape{3, 30, 7, 0}, SessionShape{0, 8, 2, 9}}) {
    for (const int chunk : {60, 7, 1}) EXPECT_EQ(Run(*kind, shape, chunk), exact) << chunk;
  }
}

TEST_P(AttentionTest, CappedScoresEqualTheDefinition) {
  config_.attention_softcap = 0.2f;
  const auto memgate = MakeMemgateKind(config_, retention_);
  const SessionShape shape{.sinks = 2, .window = 8, .segment = 4, .salient = 5};
  EXPECT_LT(
      reference::RelativeError(Run(*memgate, shape, 60), Expected(reference::MemoryRule::kSalient, shape)),
      Tolerance());
}

// A kind with retention scores but no slots forgets, and a window kind sees no difference in any bit.
TEST_P(AttentionTest, RetentionWithoutSlotsIsTheWindowBitForBit) {
  const SessionShape shape{.sinks = 2, .window = 8, .segment = 4};
  EXPECT_EQ(Run(*MakeMemgateKind(config_, retention_), shape, 60), Run(*MakeWindowKind(), shape, 60));
}

TEST_P(AttentionTest, ChunksAndThreadsChangeNoBit) {
  const auto kind = MakeMemgateKind(config_, retention_);
  const SessionShape shape{.sinks = 2, .window = 8, .segment = 4, .salient = 5};
  const std::vector<float> whole = Run(*kind, shape, 60);
  for (const int chunk : {1, 2, 3, 5}) EXPECT_EQ(Run(*kind, shape, chunk), whole) << chunk;
  SetComputeThreads(3);
  EXPECT_EQ(Run(*kind, shape, 60), whole);
  SetComputeThreads(1);
}

INSTANTIATE_TEST_SUITE_P(Kv, AttentionTest, testing::ValuesIn(kKvFormats),
                         [](const auto& info) { return std::string(KvFormatName(info.param)); });

}  // namespace
}  // namespace memgate
