#include "engine/model/weights.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/model/running_model.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {
namespace {

// Hides one tensor or shows another in its place.
class EditedSource : public TensorSource {
 public:
  EditedSource(const TensorSource& source, std::string hidden, std::string shown)
      : source_(source), hidden_(std::move(hidden)), shown_(std::move(shown)) {}
  absl::StatusOr<TensorView> Find(std::string_view name) const override {
    if (name != hidden_) return source_.Find(name);
    if (shown_.empty()) return absl::NotFoundError("no tensor " + hidden_);
    auto view = source_.Find(shown_);
    if (view.ok()) view->name = hidden_;
    return view;
  }
  bool Has(std::string_view name) const override { return Find(name).ok(); }
  std::vector<std::string> Names() const override { return source_.Names(); }

 private:
  const TensorSource& source_;
  const std::string hidden_;
  const std::string shown_;
};

// Shows `value` everywhere in one tensor.
class ConstantSource : public TensorSource {
 public:
  ConstantSource(const TensorSource& source, std::string name, float value)
      : source_(source), name_(std::move(name)), numbers_(source.Find(name_)->elements(), value) {}
  absl::StatusOr<TensorView> Find(std::string_view name) const override {
    auto view = source_.Find(name);
    if (name != name_ || !view.ok()) return view;
    view->dtype = DType::kF32;
    view->data = reinterpret_cast<const std::byte*>(numbers_.data());
    view->bytes = numbers_.size() * sizeof(float);
    return view;
  }
  bool Has(std::string_view name) const override { return source_.Has(name); }
  std::vector<std::string> Names() const override { return source_.Names(); }

 private:
  const TensorSource& source_;
  const std::string name_;
  const std::vector<float> numbers_;
};

// Everything the weights hold in memory of their own.
int64_t HeldBytes(const ModelWeights& weights) {
  int64_t bytes =
      weights.head.packed_bytes() + static_cast<int64_t>(weights.final_norm.size() * sizeof(float));
  for (const LayerWeights& layer : weights.layers) {
    for (const Linear* linear : {&layer.qkv, &layer.attention_out, &layer.gate_up, &layer.down}) {
      bytes += linear->packed_bytes();
    }
    for (const auto* norm : {&layer.attention_norm, &layer.query_norm, &layer.key_norm,
                             &layer.attention_post_norm, &layer.mlp_norm, &layer.mlp_post_norm}) {
      bytes += static_cast<int64_t>(norm->size() * sizeof(float));
    }
  }
  return bytes;
}

TEST(WeightsTest, BytesAreKnownBeforeAnythingIsAllocated) {
  for (const TinyArchitecture architecture : kTinyArchitectures) {
    for (const bool tied : {false, true}) {
      const TempFolder folder;
      WriteTinyModel(folder.path(), {.architecture = architecture, .tied = tied});
      for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kInt8, WeightFormat::kInt4}) {
        const RunningModel model(folder.path(), 1, format);
        EXPECT_EQ(PackedWeightBytes(model.config(), format), HeldBytes(model.transformer().weights()))
            << model.config().architecture << ' ' << WeightFormatName(format);
      }
    }
  }
}

TEST(WeightsTest, CountsEveryStoredParameterOnce) {
  for (const TinyArchitecture architecture : kTinyArchitectures) {
    for (const bool tied : {false, true}) {
      const TempFolder folder;
      const RunningModel model(WriteTinyModel(folder.path(), {.architecture = architecture, .tied = tied}));
      int64_t stored = 0;
      for (const std::string& name : model.tensors().Names())
        stored += model.tensors().Find(name)->elements();
      EXPECT_EQ(model.transformer().weights().parameters, stored) << model.config().architecture;
    }
  }
}

TEST(WeightsTest, EveryMissingTensorIsNamed) {
  for (const TinyArchitecture architecture : kTinyArchitectures) {
    const TempFolder folder;
    const RunningModel model(WriteTinyModel(folder.path(), {.architecture = architecture, .layers = 1}));
    for (const std::string& name : model.tensors().Names()) {
      const EditedSource source(model.tensors(), name, "");
      const auto weights = LoadWeights(model.config(), source, WeightFormat::kF32, [](int, int) {});
      EXPECT_EQ(weights.status().code(), absl::StatusCode::kNotFound) << name;
      EXPECT_NE(weights.status().message().find(name), std::string::npos) << weights.status();
    }
  }
}

TEST(WeightsTest, EveryTensorOfAnotherShapeIsNamed) {
  const TempFolder folder;
  const RunningModel model(
      WriteTinyModel(folder.path(), {.architecture = TinyArchitecture::kQwen3, .layers = 1, .head_dim = 10}));
  for (const std::string& name : model.tensors().Names()) {
    const bool is_down = name == "model.layers.0.mlp.down_proj.weight";
    const EditedSource source(model.tensors(), name,
                              is_down ? "model.norm.weight" : "model.layers.0.mlp.down_proj.weight");
    const auto weights = LoadWeights(model.config(), source, WeightFormat::kF32, [](int, int) {});
    EXPECT_EQ(weights.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_NE(weights.status().message().find(name), std::string::npos) << weights.status();
  }
}

TEST(WeightsTest, HeadKeepsEightBitsUnderInt4) {
  const TempFolder folder;
  const RunningModel model(WriteTinyModel(folder.path()), 1, WeightFormat::kInt4);
  const ModelWeights& weights = model.transformer().weights();
  EXPECT_EQ(weights.format, WeightFormat::kInt4);
  EXPECT_EQ(weights.head.shape().format, WeightFormat::kInt8);
  EXPECT_EQ(weights.layers[1].down.shape().format, WeightFormat::kInt4);
}

TEST(WeightsTest, WeightsThatAreNotFiniteAreNamed) {
  const TempFolder folder;
  const RunningModel model(WriteTinyModel(folder.path(), {.layers = 1}));
  for (const std::string& name : model.tensors().Names()) {
    if (name == "model.embed_tokens.weight") continue;  // read by the row, for the tokens that come
    const ConstantSource source(model.tensors(), name, std::numeric_limits<float>::infinity());
    for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kInt8, WeightFormat::kInt4}) {
      const auto weights = LoadWeights(model.config(), source, format, [](int, int) {});
      EXPECT_EQ(weights.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_EQ(weights.status().message(), source.Describe(name) + " holds a number that is not finite");
    }
  }
}

std::string NormsOf(const ModelConfig& config, const TensorSource& source) {
  const auto summary = CheckWeights(config, source);
  EXPECT_TRUE(summary.ok()) << summary.status();
  return summary.ok() ? summary->norms_fingerprint : "";
}

// The trainer of modules computes them in Python (training/tests/test_model.py reads the same file).
TEST(WeightsTest, NormsHaveTheFingerprintThatTheTrainerComputes) {
  const std::string golden = MEMGATE_SOURCE_DIR "/tests/golden/";
  const auto expected = nlohmann::json::parse(std::ifstream(golden + "norms.json"));
  ASSERT_GE(expected.size(), 5u);
  for (const auto& [name, fingerprint] : expected.items()) {
    const RunningModel model(golden + name);
    EXPECT_EQ(*NormsFingerprint(model.transformer().weights()), fingerprint.get<std::string>()) << name;
    EXPECT_EQ(NormsOf(model.config(), model.tensors()), fingerprint.get<std::string>()) << name;
  }
}

TEST(WeightsTest, EveryNormAndNothingElseIsPartOfTheirFingerprint) {
  for (const TinyArchitecture architecture : kTinyArchitectures) {
    const TempFolder folder;
    const RunningModel model(WriteTinyModel(folder.path(), {.architecture = architecture, .layers = 1}));
    const std::string norms = NormsOf(model.config(), model.tensors());
    for (const std::string& name : model.tensors().Names()) {
      const ConstantSource source(model.tensors(), name, 3.0f);
      EXPECT_EQ(NormsOf(model.config(), source) != norms, name.ends_with("norm.weight")) << name;
    }
  }
}

TEST(WeightsTest, ReportsProgressUpToTheEnd) {
  const TempFolder folder;
  const RunningModel model(WriteTinyModel(folder.path(), {.layers = 3}));
  std::vector<std::pair<int, int>> seen;
  const auto weights = LoadWeights(model.config(), model.tensors(), WeightFormat::kF32,
                                   [&](int done, int total) { seen.emplace_back(done, total); });
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ(seen, (std::vector<std::pair<int, int>>{{1, 4}, {2, 4}, {3, 4}, {4, 4}}));
}

}  // namespace
}  // namespace memgate
