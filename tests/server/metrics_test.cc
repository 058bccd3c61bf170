#include "server/metrics.h"

#include <gtest/gtest.h>

#include <string>

namespace memgate {
namespace {

double Value(Metrics& metrics, const std::string& name) {
  for (const auto& family : metrics.registry()->Collect()) {
    if (family.name == name) return family.metric.at(0).counter.value;
  }
  ADD_FAILURE() << "there is no " << name;
  return -1;
}

TEST(MetricsTest, CountsPromptsOnlyOfTurnsThatTookThemIn) {
  Metrics metrics;
  TurnEnd end;
  end.prompt_tokens = 50;
  end.status = absl::CancelledError("");
  metrics.CountTurn(end, absl::ZeroDuration());
  EXPECT_EQ(Value(metrics, "memgate_prompt_tokens_total"), 0);
  end.status = absl::OkStatus();
  metrics.CountTurn(end, absl::ZeroDuration());
  EXPECT_EQ(Value(metrics, "memgate_prompt_tokens_total"), 50);
}

}  // namespace
}  // namespace memgate
