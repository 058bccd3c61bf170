// A published model, where its files are at hand: greedy decoding must give the expected story.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/model/running_model.h"

namespace memgate {
namespace {

const std::string kModels = std::string(MEMGATE_SOURCE_DIR) + "/../shared/data/models/";

TEST(StoriesTest, GreedyDecodingGivesTheExpectedIds) {
  RunningModel model(kModels + "stories260K-hf");
  std::ifstream file(kModels + "expected/stories260K.greedy.json");
  const nlohmann::json cases = nlohmann::json::parse(file);
  ASSERT_FALSE(cases.empty());
  for (const auto& expected : cases) {
    const auto prompt = expected["prompt_ids"].get<std::vector<int32_t>>();
    const auto ids = expected["generated_ids"].get<std::vector<int32_t>>();
    const size_t fed = prompt.size() + ids.size() - 1;
    ASSERT_LE(fed, 512u);
    const auto session = model.NewExactSession(static_cast<int>(fed));
    std::vector<int32_t> next = prompt;
    std::vector<int32_t> generated;
    while (generated.size() < ids.size()) {
      const std::vector<float> logits = model.Step({{session.get(), next, LogitRows::kLast}});
      next = {static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
      generated.push_back(next.front());
    }
    EXPECT_EQ(generated, ids) << expected["prompt"];
  }
}

}  // namespace
}  // namespace memgate
