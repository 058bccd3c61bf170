// Models and memory modules against PyTorch: tests/golden/make_goldens.py wrote what must come out.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/memory/kind_table.h"
#include "engine/memory/module.h"
#include "tests/model/running_model.h"
#include "tests/reference/compare.h"
#include "tests/reference/transformer.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"

namespace memgate {
namespace {

// Both sides start from the same stored weights; PyTorch computed in double precision.
constexpr double kTolerance = 1e-5;

std::string GoldenFolder(const std::string& name) {
  return std::string(MEMGATE_SOURCE_DIR) + "/tests/golden/" + name;
}

struct Golden {
  std::vector<int32_t> ids;
  std::vector<int64_t> positions;  // [N], of the rows of `logits`
  reference::Vector logits;        // [N, V]
  // Of a memory module, or of a kind that needs none:
  std::string base;
  std::string kind;
  SessionShape shape;
};

Golden ReadGolden(const std::string& name) {
  std::ifstream file(GoldenFolder(name) + "/golden.json");
  const nlohmann::json json = nlohmann::json::parse(file);
  const auto tensors = OpenSafetensorsFile(GoldenFolder(name) + "/golden.safetensors");
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  const auto view = (*tensors)->Find("logits");
  EXPECT_TRUE(view.ok()) << view.status();
  std::vector<float> logits(view->elements());
  ToFloat(*view, absl::MakeSpan(logits));
  Golden golden{.ids = json["ids"].get<std::vector<int32_t>>(), .logits = reference::ToDouble(logits)};
  golden.positions.resize(golden.ids.size());
  std::iota(golden.positions.begin(), golden.positions.end(), 0);
  if (json.contains("positions")) golden.positions = json["positions"].get<std::vector<int64_t>>();
  golden.base = json.value("base", "");
  golden.kind = json.value("kind", "");
  if (json.contains("shape")) {
    const auto& shape = json["shape"];
    golden.shape = {shape["sink_tokens"], shape["window_tokens"], shape["segment_tokens"],
                    shape["salient_tokens"]};
  }
  return golden;
}

// max over the golden's positions of the relative error of one step's logits [T, V].
double LargestStepError(absl::Span<const float> logits, const Golden& golden) {
  const size_t vocabulary = golden.logits.size() / golden.positions.size();
  double largest = 0;
  for (size_t i = 0; i < golden.positions.size(); ++i) {
    const reference::Vector expected(golden.logits.begin() + i * vocabulary,
                                     golden.logits.begin() + (i + 1) * vocabulary);
    const auto actual = logits.subspan(golden.positions[i] * vocabulary, vocabulary);
    largest = std::max(largest, reference::RelativeError(actual, expected));
  }
  return largest;
}

reference::Vector Flat(const reference::Rows& rows) {
  reference::Vector out;
  for (const auto& row : rows) out.insert(out.end(), row.begin(), row.end());
  return out;
}

class ArchitectureTest : public testing::TestWithParam<const char*> {};

TEST_P(ArchitectureTest, LogitsEqualPyTorch) {
  const Golden golden = ReadGolden(GetParam());
  RunningModel model(GoldenFolder(GetParam()));
  for (const int chunk : {64, 7, 1}) {
    const auto session = model.NewExactSession(static_cast<int>(golden.ids.size()));
    const double error = reference::RelativeError(model.Feed(*session, golden.ids, chunk), golden.logits);
    EXPECT_LT(error, kTolerance) << "in chunks of " << chunk;
    if (chunk == 64) RecordProperty("relative_error", absl::StrCat(error));
  }
}

// The oracle of the other tests is itself checked against PyTorch.
TEST_P(ArchitectureTest, ReferenceEqualsPyTorch) {
  const Golden golden = ReadGolden(GetParam());
  const RunningModel model(GoldenFolder(GetParam()));
  const reference::Vector logits =
      Flat(reference::Transformer(model.config(), model.tensors()).Logits(golden.ids));
  EXPECT_LT(reference::RelativeError(std::vector<float>(logits.begin(), logits.end()), golden.logits), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Golden, ArchitectureTest,
                         testing::Values("llama2", "llama_linear_rope", "llama3", "mistral", "qwen2", "qwen3",
                                         "phi3", "phi3_long", "phi3_partial", "smollm3", "gemma2", "gemma3"),
                         [](const auto& info) { return std::string(info.param); });

// The golden folder has the names that were published.
TEST(Gemma3NamesTest, FoldersOfNewerToolsComputeTheSame) {
  const Golden golden = ReadGolden("gemma3");
  const RunningModel published(GoldenFolder("gemma3"));
  std::vector<TensorToWrite> renamed;
  for (const std::string& name : published.tensors().Names()) {
    const TensorView view = *published.tensors().Find(name);
    const std::string prefix = "language_model.model.";
    ASSERT_TRUE(name.starts_with(prefix)) << name;
    renamed.push_back({"model.language_model." + name.substr(prefix.size()),
                       std::string(DTypeName(view.dtype)), view.shape,
                       std::string(reinterpret_cast<const char*>(view.data), view.bytes)});
  }
  const TempFolder folder;
  folder.Write("model.safetensors", SafetensorsImage(renamed));
  std::filesystem::copy_file(GoldenFolder("gemma3") + "/config.json", folder.File("config.json"));
  RunningModel newer(folder.path());
  const auto session = newer.NewExactSession(static_cast<int>(golden.ids.size()));
  EXPECT_LT(reference::RelativeError(newer.Feed(*session, golden.ids, 64), golden.logits), kTolerance);
}

class MemoryModuleGoldenTest : public testing::TestWithParam<const char*> {
 protected:
  static std::unique_ptr<MemoryKind> Kind(const Golden& golden, const RunningModel& model) {
    if (!golden.kind.empty()) return FindMemoryKind(golden.kind)->untrained(model.config());
    auto module = LoadMemoryModule(GoldenFolder(GetParam()), {model.config(), model.fingerprint()});
    EXPECT_TRUE(module.ok()) << module.status();
    return module.ok() ? std::move(module->kind) : nullptr;
  }
};

TEST_P(MemoryModuleGoldenTest, LogitsOverManyFoldingsEqualPyTorch) {
  const Golden golden = ReadGolden(GetParam());
  RunningModel model(GoldenFolder(golden.base));
  const auto kind = Kind(golden, model);
  ASSERT_NE(kind, nullptr);
  for (const int chunk : {64, 3, 1}) {
    const auto session = model.NewSession(*kind, golden.shape);
    const double error = LargestStepError(model.Feed(*session, golden.ids, chunk), golden);
    EXPECT_LT(error, kTolerance) << "in chunks of " << chunk;
    EXPECT_GE(session->memory_writes(), 6);
    if (chunk == 64) RecordProperty("relative_error", absl::StrCat(error));
  }
}

// A wrong memory would have to show: without the module the same model gives other logits.
TEST_P(MemoryModuleGoldenTest, TheModuleMatters) {
  const Golden golden = ReadGolden(GetParam());
  RunningModel model(GoldenFolder(golden.base));
  const auto window = MakeWindowKind();
  SessionShape shape = golden.shape;
  shape.salient = 0;
  const auto session = model.NewSession(*window, shape);
  EXPECT_GT(LargestStepError(model.Feed(*session, golden.ids), golden), 1e-2);
}

INSTANTIATE_TEST_SUITE_P(Golden, MemoryModuleGoldenTest,
                         testing::Values("memgate", "memgate_matrix", "memgate_no_slots", "infini",
                                         "infini_delta", "infini_scaled", "infini_length", "edgeinfinite",
                                         "self_recall", "ahn_gdn", "ahn_deltanet", "ahn_gdn_router",
                                         "ahn_gdn_segments"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace memgate
