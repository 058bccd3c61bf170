// What every memory kind promises (engine/memory/memory_kind.h), and each kind's rule against plain loops.
// Whole sessions against their definition: tests/model/transformer_test.cc.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "engine/memory/infini.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/retention.h"
#include "tests/reference/compare.h"
#include "tests/reference/gated_rule.h"

namespace memgate {
namespace {

using reference::RandomFloats;
using reference::ToDouble;

ModelConfig Config() {
  ModelConfig config;
  config.num_layers = 2;
  config.hidden_size = 13;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 10;
  return config;
}

reference::Rows ToRows(const std::vector<float>& flat, int dim) {
  reference::Rows out;
  for (size_t i = 0; i < flat.size(); i += dim)
    out.push_back(ToDouble(absl::MakeConstSpan(flat).subspan(i, dim)));
  return out;
}

TEST(WindowKindTest, HoldsNothing) {
  const auto kind = MakeWindowKind();
  EXPECT_EQ(kind->name(), "window");
  EXPECT_TRUE(kind->trained());
  EXPECT_EQ(kind->StateFloats(), 0);
  EXPECT_EQ(kind->TokenFeatures(), 0);
  EXPECT_FALSE(kind->HasRetention());
}

TEST(RetentionKindTest, ScoresAreAffineInTheLayerInput) {
  const ModelConfig config = Config();
  const int g = config.num_kv_heads, c = config.hidden_size;
  const RetentionWeights weights{RandomFloats(1, config.num_layers * g * c),
                                 RandomFloats(2, config.num_layers * g)};
  const auto kind = MakeRetentionKind(config, weights);
  EXPECT_EQ(kind->name(), "memgate");
  EXPECT_TRUE(kind->HasRetention());
  EXPECT_EQ(kind->TokenFeatures(), g);
  EXPECT_EQ(kind->StateFloats(), 0);
  const std::vector<float> inputs = RandomFloats(3, 5 * c);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    std::vector<float> features(5 * g);
    kind->ComputeFeatures(layer, inputs.data(), 5, features.data());
    for (int t = 0; t < 5; ++t) {
      for (int head = 0; head < g; ++head) {
        const int row = layer * g + head;
        double expected = weights.bias[row];
        for (int i = 0; i < c; ++i) expected += double{weights.weight[row * c + i]} * inputs[t * c + i];
        EXPECT_NEAR(features[t * g + head], expected, 1e-5);
      }
    }
  }
}

class InfiniKindTest : public testing::TestWithParam<InfiniRule> {};

TEST_P(InfiniKindTest, ReadsWhatWasWrittenAsTheEquationsSay) {
  const ModelConfig config = Config();
  const int dim = config.head_dim, segment = 7, segments = 5;
  const std::vector<float> betas = RandomFloats(9, config.num_layers * config.num_heads);
  const auto kind = MakeInfiniKind(config, GetParam(), betas);
  EXPECT_TRUE(kind->trained());
  EXPECT_EQ(kind->StateFloats(), config.num_kv_heads * dim * (dim + 1));
  std::vector<float> state(kind->StateFloats(), 0.0f);
  reference::GatedRule rule{.rule = GetParam() == InfiniRule::kLinear ? reference::MemoryRule::kInfini
                                                                      : reference::MemoryRule::kInfiniDelta,
                            .shape = {.sinks = 0, .window = 1, .segment = segment}};
  std::vector<reference::HeadHistory> histories;
  for (int g = 0; g < config.num_kv_heads; ++g) {
    const std::vector<float> keys = RandomFloats(10 + g, (segments * segment + 2) * dim);
    const std::vector<float> values = RandomFloats(20 + g, (segments * segment + 2) * dim);
    for (int s = 0; s < segments; ++s) {
      kind->Write(1, {g, segment, &keys[s * segment * dim], &values[s * segment * dim]},
                  absl::MakeSpan(state));
    }
    histories.push_back({ToRows(keys, dim), ToRows(values, dim), {}});
  }

  // Queries in a wider buffer, as they lie beside keys and values in a forward pass.
  const int tokens = 3, stride = config.num_heads * dim + 11;
  const std::vector<float> queries = RandomFloats(30, tokens * stride);
  const std::vector<float> local = RandomFloats(31, tokens * config.num_heads * dim);
  std::vector<float> attention = local;
  kind->Combine(1, {tokens, queries.data(), stride, nullptr}, state, attention.data());
  const reference::Vector frequencies(dim / 2, 0.0);
  for (int t = 0; t < tokens; ++t) {
    for (int h = 0; h < config.num_heads; ++h) {
      const auto query = ToDouble(absl::MakeConstSpan(queries).subspan(t * stride + h * dim, dim));
      const double beta = betas[config.num_heads + h];
      // The oracle's query stands behind all segments and one window token. Both values in sight are made the
      // local attention, so that their softmax gives just that.
      reference::HeadHistory history = histories[h / 3];
      const int64_t position = segments * segment + 1;
      ASSERT_EQ(reference::FoldedTokens(rule.shape, position), segments * segment);
      history.values[position] = history.values[position - 1] =
          ToDouble(absl::MakeConstSpan(local).subspan((t * config.num_heads + h) * dim, dim));
      const auto expected = reference::AttendHead(rule, beta, history, frequencies, query, position);
      const auto actual = absl::MakeConstSpan(attention).subspan((t * config.num_heads + h) * dim, dim);
      EXPECT_LT(reference::RelativeError(actual, expected), 2e-5) << t << " " << h;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, InfiniKindTest, testing::Values(InfiniRule::kLinear, InfiniRule::kDelta));

TEST(InfiniRuleTest, UntrainedMemoryHardlySpeaks) {
  const ModelConfig config = Config();
  const auto kind = MakeInfiniKind(config, InfiniRule::kLinear, std::nullopt);
  EXPECT_FALSE(kind->trained());
  EXPECT_EQ(kind->name(), "infini");
  EXPECT_EQ(MakeInfiniKind(config, InfiniRule::kDelta, std::nullopt)->name(), "infini-delta");
  std::vector<float> state(kind->StateFloats(), 0.0f);
  const std::vector<float> keys = RandomFloats(1, 10), values(10, 1.0f);
  kind->Write(0, {0, 1, keys.data(), values.data()}, absl::MakeSpan(state));
  const std::vector<float> queries = RandomFloats(2, 60);
  std::vector<float> attention(60, 0.0f);
  kind->Combine(0, {1, queries.data(), 60, nullptr}, state, attention.data());
  for (int i = 0; i < 30; ++i)
    EXPECT_NEAR(attention[i], 1.0 / (1.0 + std::exp(4.0)), 1e-5);  // its share of 1
  for (int i = 30; i < 60; ++i) EXPECT_EQ(attention[i], 0.0f) << "KV head 1 holds nothing";
}

// The linear rule adds the value of a key that is known already, the delta rule only what is new about it.
TEST(InfiniRuleTest, DeltaRuleWritesTheDifference) {
  ModelConfig config = Config();
  config.num_kv_heads = config.num_heads = 1;
  const std::vector<float> key = RandomFloats(1, 10), first(10, 1.0f), second(10, 3.0f);
  const std::vector<float> open_gates(2, 50.0f);
  const auto recall = [&](InfiniRule rule) {
    const auto kind = MakeInfiniKind(config, rule, open_gates);
    std::vector<float> state(kind->StateFloats(), 0.0f);
    kind->Write(0, {0, 1, key.data(), first.data()}, absl::MakeSpan(state));
    kind->Write(0, {0, 1, key.data(), second.data()}, absl::MakeSpan(state));
    std::vector<float> out(10, 0.0f);
    kind->Combine(0, {1, key.data(), 10, nullptr}, state, out.data());
    return out[0];
  };
  // Linear: (1 + 3) / 2. Delta: M = phi (1 + (3 - 1)), z = 2 phi, so it reads 3 / 2.
  EXPECT_NEAR(recall(InfiniRule::kLinear), 2.0, 1e-4);
  EXPECT_NEAR(recall(InfiniRule::kDelta), 1.5, 1e-4);
}

}  // namespace
}  // namespace memgate
