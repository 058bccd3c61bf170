// What every memory kind promises (engine/memory/memory_kind.h), and each kind's rule against plain loops.
// Whole sessions against their definition: tests/model/transformer_test.cc.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "engine/memory/infini.h"
#include "engine/memory/memgate.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/self_recall.h"
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
  const auto kind = MakeMemgateKind(config, weights);
  EXPECT_EQ(kind->name(), "memgate");
  EXPECT_TRUE(kind->HasRetention());
  EXPECT_EQ(kind->TokenFeatures(), 1);
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
      kind->Write(1,
                  {.kv_head = g,
                   .tokens = segment,
                   .keys = &keys[s * segment * dim],
                   .values = &values[s * segment * dim]},
                  absl::MakeSpan(state));
    }
    histories.push_back({ToRows(keys, dim), ToRows(values, dim), {}});
  }

  // Queries in a wider buffer, as they lie beside keys and values in a forward pass.
  const int tokens = 3, stride = config.num_heads * dim + 11;
  const std::vector<float> queries = RandomFloats(30, tokens * stride);
  const std::vector<float> local = RandomFloats(31, tokens * config.num_heads * dim);
  std::vector<float> attention = local;
  kind->Combine(1, {.tokens = tokens, .queries = queries.data(), .query_stride = stride}, state,
                attention.data());
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
      const auto expected =
          reference::AttendHead(rule, {.beta = beta}, history, frequencies, query, position);
      const auto actual = absl::MakeConstSpan(attention).subspan((t * config.num_heads + h) * dim, dim);
      EXPECT_LT(reference::RelativeError(actual, expected), 2e-5) << t << " " << h;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, InfiniKindTest, testing::Values(InfiniRule::kLinear, InfiniRule::kDelta));

// phi of length 1 over K = 2D features, no normaliser: M += phi(k)^T (v - phi(k) M) token by token.
TEST(InfiniRuleTest, UnitDeltaReadsWhatWasWrittenAsTheEquationsSay) {
  const ModelConfig config = Config();
  const int dim = config.head_dim, features = 2 * dim, tokens = 9;
  const int g = config.num_layers * config.num_kv_heads, h = config.num_layers * config.num_heads;
  const InfiniMaps maps{features, RandomFloats(1, g * features), RandomFloats(2, g * features),
                        RandomFloats(3, h * features), RandomFloats(4, h * features)};
  const std::vector<float> betas = RandomFloats(5, h);
  const auto kind = MakeInfiniKind(config, InfiniRule::kUnitDelta, betas, maps);
  ASSERT_EQ(kind->StateFloats(), config.num_kv_heads * features * dim);
  EXPECT_EQ(kind->name(), "infini-delta");
  const auto phi = [&](const float* x, const float* scale, const float* shift) {
    reference::Vector out(features);
    for (int k = 0; k < features; ++k) {
      const double u = double{scale[k]} * x[k % dim] + shift[k];
      out[k] = u > 0 ? u + 1 : std::exp(u);
    }
    const double length = std::sqrt(reference::Dot(out, out));
    for (double& c : out) c /= length;
    return out;
  };
  std::vector<float> state(kind->StateFloats(), 0.0f);
  const std::vector<float> keys = RandomFloats(6, tokens * dim), values = RandomFloats(7, tokens * dim);
  const int layer = 1, kv_head = 1, head = 4;
  // In two parts, as two folds would.
  kind->Write(layer, {.kv_head = kv_head, .tokens = 4, .keys = keys.data(), .values = values.data()},
              absl::MakeSpan(state));
  kind->Write(layer, {.kv_head = kv_head, .tokens = 5, .keys = &keys[4 * dim], .values = &values[4 * dim]},
              absl::MakeSpan(state));
  reference::Rows matrix(features, reference::Vector(dim, 0.0));
  const auto read = [&](const reference::Vector& asked) {
    reference::Vector out(dim, 0.0);
    for (int k = 0; k < features; ++k) {
      for (int d = 0; d < dim; ++d) out[d] += asked[k] * matrix[k][d];
    }
    return out;
  };
  const int key_map = (layer * config.num_kv_heads + kv_head) * features;
  for (int t = 0; t < tokens; ++t) {
    const auto key = phi(&keys[t * dim], &maps.key_scale[key_map], &maps.key_shift[key_map]);
    const auto known = read(key);
    for (int k = 0; k < features; ++k) {
      for (int d = 0; d < dim; ++d) matrix[k][d] += key[k] * (values[t * dim + d] - known[d]);
    }
  }
  const std::vector<float> queries = RandomFloats(8, config.num_heads * dim);
  std::vector<float> attention = RandomFloats(9, config.num_heads * dim);
  const std::vector<float> local = attention;
  kind->Combine(layer, {.tokens = 1, .queries = queries.data(), .query_stride = config.num_heads * dim},
                state, attention.data());
  const int query_map = (layer * config.num_heads + head) * features;
  reference::Vector expected =
      read(phi(&queries[head * dim], &maps.query_scale[query_map], &maps.query_shift[query_map]));
  const double gate = 1 / (1 + std::exp(-double{betas[layer * config.num_heads + head]}));
  for (int d = 0; d < dim; ++d) expected[d] = gate * expected[d] + (1 - gate) * local[head * dim + d];
  EXPECT_LT(reference::RelativeError(absl::MakeConstSpan(attention).subspan(head * dim, dim), expected),
            1e-5);
}

TEST(InfiniRuleTest, UntrainedMemoryHardlySpeaks) {
  const ModelConfig config = Config();
  const auto kind = MakeInfiniKind(config, InfiniRule::kLinear, std::nullopt);
  EXPECT_FALSE(kind->trained());
  EXPECT_EQ(kind->name(), "infini");
  EXPECT_EQ(MakeInfiniKind(config, InfiniRule::kDelta, std::nullopt)->name(), "infini-delta");
  std::vector<float> state(kind->StateFloats(), 0.0f);
  const std::vector<float> keys = RandomFloats(1, 10), values(10, 1.0f);
  kind->Write(0, {.tokens = 1, .keys = keys.data(), .values = values.data()}, absl::MakeSpan(state));
  const std::vector<float> queries = RandomFloats(2, 60);
  std::vector<float> attention(60, 0.0f);
  kind->Combine(0, {.tokens = 1, .queries = queries.data(), .query_stride = 60}, state, attention.data());
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
    kind->Write(0, {.tokens = 1, .keys = key.data(), .values = first.data()}, absl::MakeSpan(state));
    kind->Write(0, {.tokens = 1, .keys = key.data(), .values = second.data()}, absl::MakeSpan(state));
    std::vector<float> out(10, 0.0f);
    kind->Combine(0, {.tokens = 1, .queries = key.data(), .query_stride = 10}, state, out.data());
    return out[0];
  };
  // Linear: (1 + 3) / 2. Delta: M = phi (1 + (3 - 1)), z = 2 phi, so it reads 3 / 2.
  EXPECT_NEAR(recall(InfiniRule::kLinear), 2.0, 1e-4);
  EXPECT_NEAR(recall(InfiniRule::kDelta), 1.5, 1e-4);
}

// What a key's value was so far is expected again: the error of a repeated pair shrinks by a tenth per write.
TEST(SelfRecallKindTest, ScoreIsTheErrorOfWhatItExpectsAndShrinksAsPairsRepeat) {
  const ModelConfig config = Config();
  const auto kind = MakeSelfRecallKind(config);
  EXPECT_EQ(kind->name(), "memgate-untrained");
  EXPECT_FALSE(kind->trained());
  EXPECT_TRUE(kind->HasRetention());
  EXPECT_FALSE(kind->Recalls());
  std::vector<float> state(kind->StateFloats(), 0.0f);
  const std::vector<float> key = RandomFloats(1, 10), value(10, 2.0f), other(10, -1.0f);
  const auto score = [&](const std::vector<float>& v, int kv_head) {
    float score = 0;
    kind->CompleteFeatures(0, {.kv_head = kv_head, .tokens = 1, .keys = key.data(), .values = v.data()},
                           state, &score);
    return score;
  };
  double expected = 10 * 2.0 * 2.0;
  for (int written = 0; written < 20; ++written) {
    EXPECT_NEAR(score(value, 1), expected, 1e-4) << written;
    kind->Write(0, {.kv_head = 1, .tokens = 1, .keys = key.data(), .values = value.data()},
                absl::MakeSpan(state));
    expected *= 0.9 * 0.9;
  }
  EXPECT_GT(score(other, 1), score(other, 0)) << "unexpected there, merely unknown here";
  EXPECT_NEAR(score(other, 0), 10.0, 1e-4) << "KV head 0 holds nothing";
}

}  // namespace
}  // namespace memgate
