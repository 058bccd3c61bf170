#include "engine/session/memory_report.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace memgate {
namespace {

double Norm(absl::Span<const float> values) {
  double squares = 0;
  for (const float value : values) squares += double{value} * value;
  return std::sqrt(squares);
}

// Norms of the KV heads' equal shares of a layer's state. [G]
std::vector<float> MemoryNorms(absl::Span<const float> memory, int kv_heads) {
  std::vector<float> norms;
  if (memory.empty()) return norms;
  const size_t share = memory.size() / kv_heads;
  for (int g = 0; g < kv_heads; ++g) {
    norms.push_back(static_cast<float>(Norm(memory.subspan(g * share, share))));
  }
  return norms;
}

// positions: [count]. features: [count, f], the score first.
SalientReport ReportSlots(const int64_t* positions, const float* features, int features_per_token, int count,
                          RetainedPositions list) {
  SalientReport report{.count = count};
  if (count == 0) return report;
  std::vector<float> scores(count);
  for (int i = 0; i < count; ++i) {
    scores[i] = ComparableScore(features[int64_t{i} * features_per_token]);
  }
  std::sort(scores.begin(), scores.end());
  report.lowest_score = scores.front();
  report.median_score = scores[(count - 1) / 2];
  report.highest_score = scores.back();
  const auto [oldest, newest] = std::minmax_element(positions, positions + count);
  report.oldest_position = *oldest;
  report.newest_position = *newest;
  if (list == RetainedPositions::kList) {
    report.positions.assign(positions, positions + count);
    std::sort(report.positions.begin(), report.positions.end());
  }
  return report;
}

LayerReport ReportLayer(SessionState& state, int layer, RetainedPositions list) {
  const LayerView view = state.Layer(layer);
  LayerReport report;
  if (view.local()) return report;
  const MemoryKind& kind = state.kind();
  const int kv_heads = state.context().config->num_kv_heads;
  const int slots = view.shape.salient;
  report.gates = kind.Gates(layer);
  report.memory_norms = MemoryNorms(view.memory, kv_heads);
  for (int g = 0; slots > 0 && g < kv_heads; ++g) {
    const int64_t first = int64_t{g} * slots;
    report.salient.push_back(ReportSlots(view.salient_positions + first,
                                         view.salient_features + first * kind.TokenFeatures(),
                                         kind.TokenFeatures(), view.salient_count(), list));
  }
  return report;
}

}  // namespace

MemoryReport ReportMemory(SessionState& state, int pending, RetainedPositions positions) {
  MemoryReport report;
  report.accounting = state.Accounting(pending);
  report.memory_writes = state.memory_writes();
  for (int layer = 0; layer < state.context().config->num_layers; ++layer) {
    report.layers.push_back(ReportLayer(state, layer, positions));
  }
  return report;
}

}  // namespace memgate
