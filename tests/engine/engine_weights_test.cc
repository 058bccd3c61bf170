#include <limits>
#include <string>
#include <vector>

#include "engine/kernels/dnnl_matrix.h"
#include "engine/model/weights.h"
#include "engine/weight_choice.h"
#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"

namespace memgate {
namespace {

// By falling size.
constexpr WeightFormat kFormats[] = {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8,
                                     WeightFormat::kInt4};

using EngineWeightsTest = EngineFixture;

// The demo model knows notes and questions about them.
TEST_F(EngineWeightsTest, TheDemoModelAnswersInEveryFormat) {
  const std::string log =
      "note: the reset mark of fan K2 is 6272\n"
      "note: the service code of pump R7 is 4921\n"
      "note: the flow limit of boiler A3 is 0211\n"
      "note: the spare key of valve H5 is 8350\n";
  int64_t bytes_before = std::numeric_limits<int64_t>::max();
  for (const WeightFormat format : kFormats) {
    const auto engine =
        Engine::Load({.model_path = std::string(MEMGATE_SOURCE_DIR) + "/models/gateway-demo",
                      .weights = format,
                      .threads = 2});
    if (format == WeightFormat::kBf16 && absl::IsUnimplemented(engine.status())) continue;  // not on this CPU
    ASSERT_TRUE(engine.ok()) << engine.status();
    const ModelInfo& model = (*engine)->model();
    EXPECT_EQ(model.weights, format);
    EXPECT_EQ(model.weights_reason, "");
    EXPECT_EQ((*engine)->Stats().weight_bytes, PackedWeightBytes(model.config, format));
    EXPECT_LT(model.weight_bytes, bytes_before);
    bytes_before = model.weight_bytes;
    for (const auto& [question, answer] : {std::pair("reset mark of fan K2", "6272"),
                                           {"flow limit of boiler A3", "0211"},
                                           {"service code of pump R7", "4921"}}) {
      const auto prompt =
          (*engine)->tokenizer().Encode(log + "ask: what is the " + question + "?", TextPosition::kStart);
      ASSERT_TRUE(prompt.ok()) << prompt.status();
      const auto turn = Generate(**engine, MakeSession(**engine), *prompt, 8);
      ASSERT_TRUE(turn->end.status.ok()) << turn->end.status;
      EXPECT_THAT(turn->text, testing::HasSubstr(answer)) << WeightFormatName(format);
    }
  }
}

TEST_F(EngineWeightsTest, SnapshotsContinueBitForBitInEveryFormat) {
  for (const WeightFormat format : kFormats) {
    if (format == WeightFormat::kBf16 && !DnnlMatrix::Bytes(32, 32, false, format))
      continue;  // not on this CPU
    auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate}, {.weights = format});
    const auto session = MakeSession(*engine);
    Generate(*engine, session, RandomTokens(60, 1), 5);
    const auto restored = engine->Import(Snapshot(*engine, session));
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_EQ(Generate(*engine, *restored, RandomTokens(30, 2), 20)->tokens,
              Generate(*engine, session, RandomTokens(30, 2), 20)->tokens)
        << WeightFormatName(format);
  }
}

TEST_F(EngineWeightsTest, SessionsMoveBetweenFormats) {
  const TinyModelOptions model{.eos_token_id = -1, .memory = TinyMemory::kMemgate};
  auto floats = LoadTiny(model, {.weights = WeightFormat::kF32});
  auto integers = LoadTiny(model, {.weights = WeightFormat::kInt8});
  const auto session = MakeSession(*floats);
  Generate(*floats, session, RandomTokens(60, 1), 5);
  const auto moved = integers->Import(Snapshot(*floats, session));
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_EQ(Generate(*integers, *moved, RandomTokens(30, 2), 20)->tokens.size(), 20u);
}

TEST_F(EngineWeightsTest, SmallModelsStayInF32WhereNobodyAsked) {
  auto engine = LoadTiny({}, {.weights = std::nullopt});
  EXPECT_EQ(engine->model().weights, WeightFormat::kF32);
  EXPECT_THAT(engine->model().weights_reason, testing::HasSubstr("small model"));
}

TEST(WeightChoiceTest, LargeModelsTakeEightBitsAndFourWhereMemoryIsShort) {
  // Qwen2.5-0.5B: 358 M weights in layers and 136 M in the head.
  const ModelConfig config{.num_layers = 24,
                           .hidden_size = 896,
                           .num_heads = 14,
                           .num_kv_heads = 2,
                           .head_dim = 64,
                           .intermediate_size = 4864,
                           .vocab_size = 151936,
                           .qkv_bias = true,
                           .tied_embeddings = true};
  const int64_t int8_bytes = PackedWeightBytes(config, WeightFormat::kInt8);
  EXPECT_NEAR(static_cast<double>(int8_bytes), 494e6, 10e6);
  const WeightChoice roomy = ChooseWeights(config, 2 * int8_bytes);
  EXPECT_EQ(roomy.format, WeightFormat::kInt8);
  EXPECT_EQ(roomy.reason, "476 MiB instead of 1885 MiB in f32");
  const WeightChoice tight = ChooseWeights(config, int8_bytes * 5 / 4);
  EXPECT_EQ(tight.format, WeightFormat::kInt4);
  EXPECT_THAT(tight.reason, testing::HasSubstr("budget"));
}

}  // namespace
}  // namespace memgate
