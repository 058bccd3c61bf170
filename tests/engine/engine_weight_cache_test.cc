// What a second start finds of the first one.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "engine/checkpoint/weight_cache.h"
#include "engine/model/weights.h"
#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/notification.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr char kOutcomes[][12] = {"hit", "miss", "written", "already", "not written"};

class EngineWeightCacheTest : public EngineFixture {
 protected:
  // One start of the same model; what was reported is in events_ and reasons_.
  std::unique_ptr<Engine> Start(WeightFormat format) {
    events_.clear();
    reasons_.clear();
    EngineOptions options = {.model_path = model_, .weights = format, .threads = 2};
    options.clock = [] { return absl::Now() + absl::Hours(1); };  // as if the model had been there for long
    options.load_progress = progress_;
    options.weight_cache = {.folder = cache_,
                            .write = WeightCacheOptions::Write::kBeforeLoaded,
                            .longest_wait = absl::ZeroDuration(),
                            .report = [this](const auto& e) {
                              events_.push_back(e.what + " " + kOutcomes[static_cast<int>(e.outcome)]);
                              reasons_ += e.reason + "\n";
                            }};
    auto engine = Engine::Load(std::move(options));
    error_ = engine.status();
    return engine.ok() ? *std::move(engine) : nullptr;
  }
  // Another config.json for the same tensors.
  void EditConfig(const std::string& before, const std::string& after) {
    const std::string path = model_ + "/config.json";
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    std::string config = text.str();
    const size_t at = config.find(before);
    ASSERT_NE(at, std::string::npos) << config;
    config.replace(at, before.size(), after);
    std::ofstream(path) << config;
  }
  static std::vector<TokenId> Answer(Engine& engine) {
    return Generate(engine, MakeSession(engine), RandomTokens(40, 1), 20)->tokens;
  }
  // The file that holds weights.
  std::string WeightsFile(const std::string& format) const {
    for (const auto& entry : std::filesystem::directory_iterator(cache_)) {
      const std::string path = entry.path().string();
      if (path.find("," + format + ",") != std::string::npos) return path;
    }
    return "";
  }

  const std::string model_ = WriteTinyModel(folder_.File("model"), {.eos_token_id = -1});
  std::string cache_ = folder_.File("cache");
  std::function<void(int, int)> progress_ = [](int, int) {};
  absl::Status error_;
  std::vector<std::string> events_;
  std::string reasons_;
};

TEST_F(EngineWeightCacheTest, TheSecondStartMapsWhatTheFirstPackedAndAnswersTheSame) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const auto first = Start(format);
    EXPECT_EQ(events_[1], "weights miss");
    EXPECT_EQ(events_[2], "weights written");
    const auto second = Start(format);
    EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights hit"));
    EXPECT_EQ(Answer(*second), Answer(*first));
    EXPECT_EQ(second->model().fingerprint, first->model().fingerprint);
    EXPECT_EQ(second->model().parameters, first->model().parameters);
    EXPECT_EQ(second->model().weight_bytes, first->model().weight_bytes);
    EXPECT_EQ(second->Stats().reserved_bytes, first->Stats().reserved_bytes);
  }
}

TEST_F(EngineWeightCacheTest, WeightsOfOpaqueLayoutAreNotKeptButTheFingerprintIs) {
  Start(WeightFormat::kF32);
  EXPECT_THAT(events_, ElementsAre("fingerprint miss"));
  Start(WeightFormat::kF32);
  EXPECT_THAT(events_, ElementsAre("fingerprint hit"));
}

TEST_F(EngineWeightCacheTest, WithoutAFolderNothingIsWrittenOrReported) {
  cache_ = "";
  Start(WeightFormat::kInt8);
  EXPECT_THAT(events_, IsEmpty());
}

TEST_F(EngineWeightCacheTest, DamagedWeightsAreNotUsedAndReplaced) {
  const auto expected = Answer(*Start(WeightFormat::kInt8));
  const std::string path = WeightsFile("int8");
  {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(-100, std::ios::end);
    file.put('\x55').put('\xaa').put('\x55');
  }
  EXPECT_EQ(Answer(*Start(WeightFormat::kInt8)), expected);
  EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights miss", "weights written"));
  EXPECT_THAT(reasons_, HasSubstr(path + ": damaged"));
  Start(WeightFormat::kInt8);
  EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights hit"));
}

TEST_F(EngineWeightCacheTest, SoundBlobsThatThisBuildCannotReadAreNotUsedAndReplaced) {
  const auto first = Start(WeightFormat::kInt8);
  const WeightCache cache(cache_, 1 << 20);
  const WeightCacheKey key = {first->model().fingerprint, "int8", PackedLayout(WeightFormat::kInt8)};
  ASSERT_TRUE(cache.Discard(key).ok());
  const std::vector<std::byte> bytes(64);
  ASSERT_TRUE(cache.Write(key, {{"layers.0.qkv", bytes}}).ok());
  EXPECT_EQ(Answer(*Start(WeightFormat::kInt8)), Answer(*first));
  EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights miss", "weights written"));
  EXPECT_THAT(reasons_, HasSubstr("layers.0.qkv: "));
  Start(WeightFormat::kInt8);
  EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights hit"));
}

TEST_F(EngineWeightCacheTest, AFolderThatCannotBeWrittenCostsAReasonAndNothingElse) {
  const auto expected = Answer(*Start(WeightFormat::kInt8));
  cache_ = folder_.Write("file", "") + "/cache";
  EXPECT_EQ(Answer(*Start(WeightFormat::kInt8)), expected);
  EXPECT_THAT(events_, ElementsAre("fingerprint miss", "fingerprint not written", "weights miss",
                                   "weights not written"));
  EXPECT_THAT(reasons_, HasSubstr(folder_.File("file")));
}

TEST_F(EngineWeightCacheTest, WithoutWeightsToKeepAFolderThatCannotBeWrittenIsNoMatter) {
  cache_ = folder_.Write("file", "") + "/cache";
  ASSERT_NE(Start(WeightFormat::kF32), nullptr) << error_;
  EXPECT_THAT(events_, ElementsAre("fingerprint miss"));
}

TEST_F(EngineWeightCacheTest, AnotherWriterHoldsNoStartUp) {
  std::filesystem::create_directories(cache_);
  const int lock = ::open((cache_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  ASSERT_NE(Start(WeightFormat::kInt8), nullptr) << error_;
  EXPECT_THAT(events_, ElementsAre("fingerprint miss", "fingerprint not written", "weights miss",
                                   "weights not written"));
  EXPECT_THAT(reasons_, HasSubstr("another process writes"));
  ::close(lock);
}

TEST_F(EngineWeightCacheTest, WhatAnotherProcessWroteInTheMeantimeIsNotWrittenAgain) {
  ASSERT_NE(Start(WeightFormat::kInt8), nullptr) << error_;
  const std::string written = WeightsFile("int8");
  const std::string aside = folder_.File("aside");
  std::filesystem::rename(written, aside);
  progress_ = [&](int done, int) {
    if (done == 1) std::filesystem::rename(aside, written);
  };
  ASSERT_NE(Start(WeightFormat::kInt8), nullptr) << error_;
  EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights miss", "weights already"));
}

TEST_F(EngineWeightCacheTest, WeightsOfFilesThatChangedWhileTheyWerePackedAreNotKept) {
  progress_ = [this](int done, int) {
    const auto now = std::filesystem::file_time_type::clock::now();
    if (done == 1) std::filesystem::last_write_time(model_ + "/model.safetensors", now);
  };
  ASSERT_NE(Start(WeightFormat::kInt8), nullptr) << error_;
  EXPECT_THAT(events_, ElementsAre("fingerprint miss", "weights miss", "weights not written"));
  EXPECT_THAT(reasons_, HasSubstr("model.safetensors: changed while it was read"));
  EXPECT_EQ(WeightsFile("int8"), "");
}

TEST_F(EngineWeightCacheTest, AHeadOfTheOtherTensorIsNotUsed) {
  ASSERT_NE(Start(WeightFormat::kInt8), nullptr) << error_;
  EditConfig(R"("tie_word_embeddings": false)", R"("tie_word_embeddings": true)");
  const auto tied = Start(WeightFormat::kInt8);
  ASSERT_NE(tied, nullptr) << error_;
  EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights miss", "weights written"));
  EXPECT_THAT(reasons_, HasSubstr("head.tied"));
  const auto mapped = Start(WeightFormat::kInt8);
  EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights hit"));
  EXPECT_EQ(Answer(*mapped), Answer(*tied));
}

TEST_F(EngineWeightCacheTest, AModelThatCannotBeLoadedCostsNoCachedWeights) {
  ASSERT_NE(Start(WeightFormat::kInt8), nullptr) << error_;
  EditConfig(R"("num_hidden_layers": 2)", R"("num_hidden_layers": 3)");
  EXPECT_EQ(Start(WeightFormat::kInt8), nullptr);
  EditConfig(R"("num_hidden_layers": 3)", R"("num_hidden_layers": 2)");
  ASSERT_NE(Start(WeightFormat::kInt8), nullptr) << error_;
  EXPECT_THAT(events_, ElementsAre("fingerprint hit", "weights hit"));
}

TEST_F(EngineWeightCacheTest, AnotherModelInTheSamePlaceIsAMiss) {
  Start(WeightFormat::kInt8);
  WriteTinyModel(model_, {.seed = 2, .eos_token_id = -1});
  Start(WeightFormat::kInt8);
  EXPECT_THAT(events_, ElementsAre("fingerprint miss", "weights miss", "weights written"));
}

TEST_F(EngineWeightCacheTest, WritesInTheBackgroundWhileItServes) {
  Notification written;
  EngineOptions options = {.model_path = model_, .weights = WeightFormat::kInt8, .threads = 2};
  options.weight_cache = {.folder = cache_, .report = [&](const WeightCacheEvent& event) {
                            if (event.outcome == WeightCacheEvent::Outcome::kWritten) written.Notify();
                          }};
  auto engine = Engine::Load(options);
  ASSERT_TRUE(engine.ok()) << engine.status();
  const auto answer = Answer(**engine);
  written.WaitForNotification();
  EXPECT_EQ(Answer(*Start(WeightFormat::kInt8)), answer);
  EXPECT_EQ(events_.back(), "weights hit");
}

}  // namespace
}  // namespace memgate
