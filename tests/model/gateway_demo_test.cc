// The embedded demo model and its trained memory module against the trainer's own numbers
// (models/gateway-demo/golden.json, written by training/golden.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/memory/module.h"
#include "tests/model/running_model.h"

namespace memgate {
namespace {

const std::string kDemo = std::string(MEMGATE_SOURCE_DIR) + "/models/gateway-demo";

nlohmann::json ReadGolden() {
  std::ifstream file(kDemo + "/golden.json");
  return nlohmann::json::parse(file);
}

// The largest logits of each of the golden positions: the same tokens in the same order, nearly equal values.
void ExpectTopLogits(const nlohmann::json& golden, const std::vector<float>& logits, int vocab_size) {
  const auto positions = golden["positions"].get<std::vector<int64_t>>();
  const auto top_ids = golden["top_ids"].get<std::vector<std::vector<int32_t>>>();
  const auto top_logits = golden["top_logits"].get<std::vector<std::vector<double>>>();
  ASSERT_FALSE(positions.empty());
  for (size_t i = 0; i < positions.size(); ++i) {
    const float* row = &logits[positions[i] * vocab_size];
    std::vector<int32_t> ids(vocab_size);
    std::iota(ids.begin(), ids.end(), 0);
    const size_t top = top_ids[i].size();
    std::partial_sort(ids.begin(), ids.begin() + static_cast<int64_t>(top), ids.end(),
                      [row](int32_t a, int32_t b) { return row[a] > row[b]; });
    ids.resize(top);
    EXPECT_EQ(ids, top_ids[i]) << "position " << positions[i];
    // The trainer runs in single precision too.
    for (size_t e = 0; e < top; ++e) {
      EXPECT_NEAR(row[top_ids[i][e]], top_logits[i][e], 1e-3) << "position " << positions[i];
    }
  }
}

TEST(GatewayDemoTest, ExactLogitsEqualTheTrainers) {
  RunningModel model(kDemo, 256);
  const nlohmann::json golden = ReadGolden()["exact"];
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const auto session = model.NewExactSession(static_cast<int>(ids.size()));
  ExpectTopLogits(golden, model.Feed(*session, ids, 256), model.config().vocab_size);
}

TEST(GatewayDemoTest, GatedLogitsWithTheTrainedModuleEqualTheTrainers) {
  RunningModel model(kDemo, 256);
  const nlohmann::json golden = ReadGolden()["gated"];
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const auto module = LoadMemoryModule(kDemo, {model.config(), model.fingerprint()});
  ASSERT_TRUE(module.ok()) << module.status();
  const SessionShape shape{golden["sink_tokens"], golden["window_tokens"], golden["segment_tokens"],
                           golden["salient_tokens"]};
  const auto session = model.NewSession(*module->kind, shape);
  const std::vector<float> logits = model.Feed(*session, ids, 256);
  EXPECT_GE(session->memory_writes(), 6);
  ExpectTopLogits(golden, logits, model.config().vocab_size);
}

// Of softmax(logits) against softmax(others), in nats. [V] each.
double KlDivergence(absl::Span<const float> logits, absl::Span<const float> others) {
  const auto log_sum = [](absl::Span<const float> x) {
    const double largest = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float value : x) sum += std::exp(value - largest);
    return largest + std::log(sum);
  };
  const double sum = log_sum(logits), others_sum = log_sum(others);
  double divergence = 0;
  for (size_t v = 0; v < logits.size(); ++v) {
    divergence += std::exp(logits[v] - sum) * ((logits[v] - sum) - (others[v] - others_sum));
  }
  return divergence;
}

TEST(GatewayDemoTest, RoundedKeysAndValuesHardlyMoveWhatComesNext) {
  RunningModel model(kDemo, 256);
  const nlohmann::json golden = ReadGolden()["gated"];
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const auto module = LoadMemoryModule(kDemo, {model.config(), model.fingerprint()});
  ASSERT_TRUE(module.ok()) << module.status();
  const SessionShape shape{golden["sink_tokens"], golden["window_tokens"], golden["segment_tokens"],
                           golden["salient_tokens"]};
  const auto logits = [&](KvFormat format) {
    return model.Feed(*model.NewSession(*module->kind, shape, format), ids, 256);
  };
  const std::vector<float> exact = logits(KvFormat::kF32);
  const size_t vocab_size = model.config().vocab_size;
  for (const auto& [format, bound] : {std::pair(KvFormat::kBf16, 5e-5), std::pair(KvFormat::kInt8, 2e-4)}) {
    const std::vector<float> rounded = logits(format);
    double sum = 0;
    for (size_t t = 0; t < ids.size(); ++t) {
      sum += KlDivergence(absl::MakeConstSpan(exact).subspan(t * vocab_size, vocab_size),
                          absl::MakeConstSpan(rounded).subspan(t * vocab_size, vocab_size));
    }
    EXPECT_LT(sum / static_cast<double>(ids.size()), bound) << KvFormatName(format);
    EXPECT_GT(sum, 0) << "nothing was rounded";
  }
}

}  // namespace
}  // namespace memgate
