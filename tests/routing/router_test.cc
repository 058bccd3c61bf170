#include "engine/routing/router.h"

#include <gtest/gtest.h>

#include <limits>
#include <ostream>
#include <string>
#include <vector>

namespace memgate {

void PrintTo(const RouteDecision& decision, std::ostream* out) {
  *out << PathName(decision.path) << "/" << RouteReasonName(decision.reason)
       << (decision.possible ? "" : "/impossible");
}

namespace {

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

constexpr auto kExact = Path::kExact;
constexpr auto kGated = Path::kGated;
constexpr auto kAuto = PathPreference::kAuto;
constexpr auto kAskExact = PathPreference::kExact;
constexpr auto kAskGated = PathPreference::kGated;
constexpr auto kReserved = Storage::kReserved;
constexpr auto kOnDemand = Storage::kOnDemand;
constexpr auto kNone = MemoryPressure::kNone;
constexpr auto kHigh = MemoryPressure::kHigh;
constexpr auto kFits = RouteReason::kFits;
constexpr auto kExceeds = RouteReason::kExceedsExactLimit;
constexpr auto kFolded = RouteReason::kSessionFolded;
constexpr auto kPreference = RouteReason::kClientPreference;
constexpr auto kPressure = RouteReason::kMemoryPressure;

struct Case {
  const char* claim;
  RouteInput input;  // session, prompt, max_new, limit, folded, storage, preference, pressure
  RouteDecision expected;
};

class RouterTest : public testing::Test {
 protected:
  static void Check(const std::vector<Case>& cases) {
    for (const Case& c : cases) EXPECT_EQ(Route(c.input), c.expected) << c.claim;
  }
};

TEST_F(RouterTest, KeepsExactPathWhileContextFits) {
  Check({
      {"empty request", {0, 0, 0, 100}, {kExact, kFits}},
      {"one below the limit", {40, 39, 20, 100}, {kExact, kFits}},
      {"exactly at the limit", {40, 40, 20, 100}, {kExact, kFits}},
      {"prompt alone at the limit", {0, 100, 0, 100}, {kExact, kFits}},
      {"session alone at the limit", {100, 0, 0, 100}, {kExact, kFits}},
      {"answer alone at the limit", {0, 0, 100, 100}, {kExact, kFits}},
      {"nothing into a limit of 0", {0, 0, 0, 0}, {kExact, kFits}},
      {"pressure does not touch reserved bytes",
       {0, 1, 1, 100, false, kReserved, kAuto, kHigh},
       {kExact, kFits}},
      {"bytes on demand without pressure", {0, 1, 1, 100, false, kOnDemand, kAuto, kNone}, {kExact, kFits}},
  });
}

TEST_F(RouterTest, TakesGatedPathOneTokenPastTheLimit) {
  Check({
      {"by the answer", {40, 40, 21, 100}, {kGated, kExceeds}},
      {"by the prompt", {40, 41, 20, 100}, {kGated, kExceeds}},
      {"by the session", {41, 40, 20, 100}, {kGated, kExceeds}},
      {"session alone", {101, 0, 0, 100}, {kGated, kExceeds}},
      {"prompt alone", {0, 101, 0, 100}, {kGated, kExceeds}},
      {"answer alone", {0, 0, 101, 100}, {kGated, kExceeds}},
      {"limit of 0", {0, 1, 0, 0}, {kGated, kExceeds}},
      {"under pressure the reason stays",
       {0, 101, 0, 100, false, kOnDemand, kAuto, kHigh},
       {kGated, kExceeds}},
      {"asked for gated: the reason stays",
       {0, 101, 0, 100, false, kReserved, kAskGated},
       {kGated, kExceeds}},
  });
}

TEST_F(RouterTest, SumsThatOverflowExceedTheLimit) {
  Check({
      {"huge answer", {1, 1, kHuge, 100}, {kGated, kExceeds}},
      {"huge prompt and answer", {0, kHuge, kHuge, 100}, {kGated, kExceeds}},
      {"all huge", {kHuge, kHuge, kHuge, kHuge}, {kGated, kExceeds}},
      {"one past the largest limit", {kHuge, 0, 1, kHuge}, {kGated, kExceeds}},
      {"exactly the largest limit", {kHuge - 2, 1, 1, kHuge}, {kExact, kFits}},
  });
}

TEST_F(RouterTest, StaysGatedOnceTheSessionHasFolded) {
  Check({
      {"although it would fit", {10, 1, 1, 100, true}, {kGated, kFolded}},
      {"before the limit is looked at", {101, 1, 1, 100, true}, {kGated, kFolded}},
      {"whatever was asked", {10, 1, 1, 100, true, kReserved, kAskGated}, {kGated, kFolded}},
      {"whatever the pressure", {10, 1, 1, 100, true, kOnDemand, kAuto, kHigh}, {kGated, kFolded}},
  });
}

TEST_F(RouterTest, RefusesAnExactPreferenceThatCannotBeMet) {
  Check({
      {"folded", {10, 1, 1, 100, true, kReserved, kAskExact}, {kGated, kFolded, false}},
      {"folded and too long", {101, 1, 1, 100, true, kReserved, kAskExact}, {kGated, kFolded, false}},
      {"too long by one", {40, 40, 21, 100, false, kReserved, kAskExact}, {kGated, kExceeds, false}},
      {"overflowing", {1, 1, kHuge, 100, false, kReserved, kAskExact}, {kGated, kExceeds, false}},
  });
}

TEST_F(RouterTest, HonoursThePreferenceWhileContextFits) {
  Check({
      {"exact", {40, 40, 20, 100, false, kReserved, kAskExact}, {kExact, kPreference}},
      {"gated", {40, 40, 20, 100, false, kReserved, kAskGated}, {kGated, kPreference}},
      {"exact before pressure", {0, 1, 1, 100, false, kOnDemand, kAskExact, kHigh}, {kExact, kPreference}},
      {"gated before pressure", {0, 1, 1, 100, false, kOnDemand, kAskGated, kHigh}, {kGated, kPreference}},
  });
}

TEST_F(RouterTest, EphemeralRequestsYieldToMemoryPressure) {
  Check({
      {"fits easily", {0, 1, 1, 100, false, kOnDemand, kAuto, kHigh}, {kGated, kPressure}},
      {"fits exactly", {0, 50, 50, 100, false, kOnDemand, kAuto, kHigh}, {kGated, kPressure}},
  });
}

TEST_F(RouterTest, OnlyAnExactPreferenceCanBeImpossible) {
  for (const bool folded : {false, true}) {
    for (const int64_t prompt : {0, 100, 101}) {
      for (const Storage storage : {kReserved, kOnDemand}) {
        for (const MemoryPressure pressure : {kNone, kHigh}) {
          for (const PathPreference preference : {kAuto, kAskExact, kAskGated}) {
            const RouteDecision decision = Route({0, prompt, 0, 100, folded, storage, preference, pressure});
            const bool exact_can_run = !folded && prompt <= 100;
            EXPECT_EQ(decision.possible, preference != kAskExact || exact_can_run);
            EXPECT_TRUE(decision.path == kGated || exact_can_run);
          }
        }
      }
    }
  }
}

TEST(RouterNamesTest, AreStable) {
  EXPECT_EQ(PathName(kExact), "exact");
  EXPECT_EQ(PathName(kGated), "gated");
  EXPECT_EQ(RouteReasonName(kFits), "fits");
  EXPECT_EQ(RouteReasonName(kExceeds), "exceeds_exact_limit");
  EXPECT_EQ(RouteReasonName(kFolded), "session_folded");
  EXPECT_EQ(RouteReasonName(kPreference), "client_preference");
  EXPECT_EQ(RouteReasonName(kPressure), "memory_pressure");
}

}  // namespace
}  // namespace memgate
