// A model in a GGUF file computes what the same model in a folder does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "tests/model/running_model.h"
#include "tests/support/gguf_model.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {
namespace {

using nlohmann::json;

struct Variant {
  const char* name;
  TinyModelOptions options;
  // A key that GGUF files have no place for, set to what their readers take it for.
  const char* key = nullptr;
  int value = 0;
  bool same_bytes = true;  // of the tensors
};

const Variant kVariants[] = {
    {"Llama", {}},
    {"LlamaTied", {.tied = true}},
    {"Mistral", {.architecture = TinyArchitecture::kMistral}},
    {"Qwen2", {.architecture = TinyArchitecture::kQwen2}},
    {"Qwen3", {.architecture = TinyArchitecture::kQwen3, .head_dim = 16}},
    {"Phi3", {.architecture = TinyArchitecture::kPhi3}},
    {"Phi3Partial", {.architecture = TinyArchitecture::kPhi3, .rotated_part = 0.75}},
    {"Phi3Window", {.architecture = TinyArchitecture::kPhi3, .sliding_window = 20}},
    {"SmolLm3", {.architecture = TinyArchitecture::kSmolLm3, .layers = 5}, "no_rope_layer_interval", 4},
    {"Gemma2", {.architecture = TinyArchitecture::kGemma2, .tied = true}, "query_pre_attn_scalar", 8, false},
    {"Gemma3", {.architecture = TinyArchitecture::kGemma3, .tied = true}, "query_pre_attn_scalar", 8, false},
};

std::string WriteVariant(const TempFolder& folder, const Variant& variant) {
  const std::string model = WriteTinyModel(folder.File("model"), variant.options);
  if (variant.key != nullptr) {
    json config = json::parse(std::ifstream(model + "/config.json"));
    config[variant.key] = variant.value;
    std::ofstream(model + "/config.json") << config.dump();
  }
  return model;
}

std::string ConvertedTo(const TempFolder& folder, const std::string& model) {
  return folder.Write("model.gguf", GgufOfFolder(model).Image());
}

std::vector<float> LogitsOf(RunningModel& model, const std::vector<int32_t>& tokens) {
  const auto session = model.NewExactSession(static_cast<int>(tokens.size()));
  return model.Feed(*session, tokens);
}

std::string NormsOf(const RunningModel& model) { return *NormsFingerprint(model.transformer().weights()); }

class GgufVariantTest : public testing::TestWithParam<Variant> {};

TEST_P(GgufVariantTest, GivesTheLogitsAndTheFingerprintOfTheFolder) {
  const TempFolder folder;
  const std::string original = WriteVariant(folder, GetParam());
  RunningModel from_folder(original);
  RunningModel from_file(ConvertedTo(folder, original));
  const std::vector<int32_t> tokens = RandomTokens(3, 50, kTinyVocabSize);
  EXPECT_EQ(LogitsOf(from_file, tokens), LogitsOf(from_folder, tokens));
  EXPECT_EQ(from_file.fingerprint() == from_folder.fingerprint(), GetParam().same_bytes);
}

TEST_P(GgufVariantTest, ARoundedFileHasTheNormsOfTheFolder) {
  const TempFolder folder;
  const std::string original = WriteVariant(folder, GetParam());
  const RunningModel from_folder(original);
  const RunningModel from_file(folder.Write("model.gguf", GgufOfFolder(original, DType::kBF16).Image()));
  EXPECT_NE(from_file.fingerprint(), from_folder.fingerprint());
  const std::string norms = NormsOf(from_folder);
  EXPECT_EQ(NormsOf(from_file), norms);
  EXPECT_NE(norms, "");
}

INSTANTIATE_TEST_SUITE_P(Architectures, GgufVariantTest, testing::ValuesIn(kVariants),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(GgufModelTest, DivisorsOfFrequenciesStretchAsLlama3Does) {
  const TempFolder folder;
  const std::string original = WriteTinyModel(folder.File("model"), {.llama3_rope = true});
  RunningModel from_folder(original);
  RunningModel from_file(ConvertedTo(folder, original));
  ASSERT_EQ(from_file.config().ropes[0].divisors.size(), 4u);
  const std::vector<int32_t> tokens = RandomTokens(4, 400, kTinyVocabSize);
  const std::vector<float> expected = LogitsOf(from_folder, tokens);
  const std::vector<float> found = LogitsOf(from_file, tokens);
  // The divisors are rounded to f32: angles differ by their 2^-24.
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(found[i], expected[i], 2e-4) << i;
  // They matter: without the stretching the logits are others.
  RunningModel plain(WriteTinyModel(folder.File("plain"), {}));
  const std::vector<float> unstretched = LogitsOf(plain, tokens);
  float largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(unstretched[i] - expected[i]));
  }
  EXPECT_GT(largest, 0.1f);
}

// Published files, where they are at hand beside the checkout.
const std::string kModels = std::string(MEMGATE_SOURCE_DIR) + "/../shared/data/models/";
constexpr char kWide[] = "stories260K-wide64";

#define SKIP_WITHOUT(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no such file: " << (path)

json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return json::parse(file);
}

// Between the two best logits at every step: beyond what f32 and f64 can differ by.
constexpr double kClearGap = 1e-3;

std::vector<int32_t> Greedy(RunningModel& model, std::vector<int32_t> next, size_t count) {
  const auto session = model.NewExactSession(static_cast<int>(next.size() + count - 1));
  std::vector<int32_t> generated;
  while (generated.size() < count) {
    const std::vector<float> logits = model.Step({{session.get(), next, LogitRows::kLast}});
    next = {static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
    generated.push_back(next.front());
  }
  return generated;
}

// Mean negative log-likelihood of each token after the first, in nats.
double MeanNll(RunningModel& model, const std::vector<int32_t>& tokens) {
  const std::vector<float> logits = LogitsOf(model, tokens);
  const size_t v = model.config().vocab_size;
  double total = 0;
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    const float* row = &logits[t * v];
    double sum = 0;
    for (size_t i = 0; i < v; ++i) sum += std::exp(static_cast<double>(row[i]));
    total += std::log(sum) - row[tokens[t + 1]];
  }
  return total / static_cast<double>(tokens.size() - 1);
}

TEST(PublishedGgufTest, TheFileHasTheWeightsOfTheFolder) {
  SKIP_WITHOUT(kModels + "gguf/stories260K.f32.gguf");
  RunningModel from_folder(kModels + "stories260K-hf");
  RunningModel from_file(kModels + "gguf/stories260K.f32.gguf");
  const std::vector<int32_t> tokens = RandomTokens(5, 200, 512);
  EXPECT_EQ(LogitsOf(from_file, tokens), LogitsOf(from_folder, tokens));
  EXPECT_EQ(from_file.fingerprint(), from_folder.fingerprint());
}

TEST(PublishedGgufTest, GreedyDecodingGivesTheExpectedIds) {
  SKIP_WITHOUT(kModels + "gguf/stories260K.f32.gguf");
  RunningModel model(kModels + "gguf/stories260K.f32.gguf");
  const json cases = ReadJson(kModels + "expected/stories260K.greedy.json");
  ASSERT_FALSE(cases.empty());
  for (const json& expected : cases) {
    const auto prompt = expected["prompt_ids"].get<std::vector<int32_t>>();
    const auto ids = expected["generated_ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(Greedy(model, prompt, ids.size()), ids) << expected["prompt"];
  }
}

TEST(PublishedGgufTest, EveryFileOfAModelHasItsNorms) {
  SKIP_WITHOUT(kModels + "gguf");
  const std::string norms = NormsOf(RunningModel(kModels + "stories260K-hf"));
  std::set<std::string> of_wide;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kModels + "gguf")) {
    const std::string path = entry.path().string();
    const std::string found = NormsOf(RunningModel(path));
    EXPECT_NE(found, "") << path;
    if (path.find(kWide) == std::string::npos) {
      EXPECT_EQ(found, norms) << path;
    } else {
      of_wide.insert(found);
    }
    ++files;
  }
  EXPECT_GE(files, 15);
  EXPECT_EQ(of_wide.size(), 1u) << "twelve types of one model";
}

struct RoundedFile {
  const char* type;
  float margin;  // what rounding the weights may move one logit against another
};

class PublishedStoriesTest : public testing::TestWithParam<RoundedFile> {};

// Rounded weights may choose another token where two are nearly as good; the expected one is never far
// behind.
TEST_P(PublishedStoriesTest, EveryExpectedIdIsTheBestOrNearlySo) {
  const std::string path = kModels + "gguf/stories260K." + GetParam().type + ".gguf";
  SKIP_WITHOUT(path);
  RunningModel model(path);
  const size_t v = model.config().vocab_size;
  for (const json& expected : ReadJson(kModels + "expected/stories260K.greedy.json")) {
    auto tokens = expected["prompt_ids"].get<std::vector<int32_t>>();
    const size_t first = tokens.size();
    for (const json& id : expected["generated_ids"]) tokens.push_back(id);
    const std::vector<float> logits = LogitsOf(model, tokens);
    for (size_t t = first; t < tokens.size(); ++t) {
      const float* row = &logits[(t - 1) * v];
      EXPECT_LE(*std::max_element(row, row + v) - row[tokens[t]], GetParam().margin)
          << expected["prompt"] << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PublishedStoriesTest,
                         testing::Values(RoundedFile{"f16", 0.01f}, RoundedFile{"q8_0", 0.1f}),
                         [](const auto& info) { return std::string(info.param.type); });

class PublishedQuantisationTest : public testing::TestWithParam<const char*> {};

TEST_P(PublishedQuantisationTest, ReachesTheExpectedLikelihood) {
  const std::string path = kModels + "gguf/" + kWide + "." + GetParam() + ".gguf";
  SKIP_WITHOUT(path);
  const json expected = ReadJson(kModels + "expected/" + kWide + ".gguf-quants.json");
  RunningModel model(path);
  const double nll = MeanNll(model, expected["nll_sequence_ids"].get<std::vector<int32_t>>());
  // Computed in f64 on dequantised weights. Other files than this one are at least 0.0004 away.
  const json& reference = expected["models"][GetParam()];
  EXPECT_NEAR(nll, reference["nll_numpy_f64_dequantised"].get<double>(), 1e-5);
  for (const json& story : reference["greedy_numpy_f64_dequantised"]) {
    const auto ids = story["generated_ids"].get<std::vector<int32_t>>();
    if (story["min_top1_top2_gap"].get<double>() < kClearGap) continue;
    EXPECT_EQ(Greedy(model, story["prompt_ids"].get<std::vector<int32_t>>(), ids.size()), ids)
        << story["prompt"];
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PublishedQuantisationTest,
                         testing::Values("Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0",
                                         "IQ4_NL", "IQ4_XS", "Q3_K_M", "Q2_K"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace memgate
