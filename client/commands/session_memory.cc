#include "client/commands/session_memory.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/commands/text.h"

namespace memgate {
namespace {

constexpr int kMostGatesListed = 4;

// The gates of the query heads that read KV head `kv_head`.
std::string GatesText(const v1::LayerMemory& layer, int kv_head) {
  const int per_head = layer.gates_size() / layer.kv_heads_size();
  std::vector<float> gates(layer.gates().begin() + kv_head * per_head,
                           layer.gates().begin() + (kv_head + 1) * per_head);
  if (gates.empty()) return "";
  std::string text;
  if (per_head <= kMostGatesListed) {
    for (const float gate : gates) absl::StrAppendFormat(&text, "%s%.3f", text.empty() ? "" : " ", gate);
    return text;
  }
  const auto [low, high] = std::minmax_element(gates.begin(), gates.end());
  const float mean = std::accumulate(gates.begin(), gates.end(), 0.0f) / static_cast<float>(per_head);
  return absl::StrFormat("%.3f .. %.3f, mean %.3f", *low, *high, mean);
}

std::string NormText(const v1::KvHeadMemory& head) {
  return head.has_memory_norm() ? absl::StrFormat("%.4g", head.memory_norm()) : "";
}

std::string PositionsText(const v1::SalientSlots& slots) {
  return slots.used() == 0
             ? ""
             : absl::StrCat(Grouped(slots.oldest_position()), " .. ", Grouped(slots.newest_position()));
}

std::string ScoresText(const v1::SalientSlots& slots) {
  return slots.used() == 0 ? ""
                           : absl::StrFormat("%.2f / %.2f / %.2f", slots.lowest_score(), slots.median_score(),
                                             slots.highest_score());
}

using Visitor = absl::FunctionRef<void(int layer, int kv_head, const v1::KvHeadMemory& head)>;

void ForEachHead(const v1::SessionMemory& memory, Visitor visit) {
  for (int l = 0; l < memory.layers_size(); ++l) {
    for (int g = 0; g < memory.layers(l).kv_heads_size(); ++g) visit(l, g, memory.layers(l).kv_heads(g));
  }
}

}  // namespace

std::string DescribeMemory(const v1::SessionMemory& memory) {
  bool gates = false, norms = false, slots = false;
  ForEachHead(memory, [&](int layer, int, const v1::KvHeadMemory& head) {
    gates = gates || memory.layers(layer).gates_size() > 0;
    norms = norms || head.has_memory_norm();
    slots = slots || head.has_salient();
  });
  if (!gates && !norms && !slots) return "no memory beside sinks and window\n";
  std::vector<std::vector<std::string>> rows = {{"layer", "KV head"}};
  if (gates) rows[0].push_back("gates");
  if (norms) rows[0].push_back("memory norm");
  if (slots) rows[0].insert(rows[0].end(), {"slots", "positions", "scores (lowest / median / highest)"});
  ForEachHead(memory, [&](int layer, int kv_head, const v1::KvHeadMemory& head) {
    std::vector<std::string> row = {absl::StrCat(layer), absl::StrCat(kv_head)};
    if (gates) row.push_back(GatesText(memory.layers(layer), kv_head));
    if (norms) row.push_back(NormText(head));
    if (slots) {
      // A layer with a window of its own has none.
      row.push_back(head.has_salient() ? absl::StrCat(Grouped(head.salient().used()), " of ",
                                                      Grouped(memory.shape().salient_tokens()))
                                       : "");
      row.push_back(PositionsText(head.salient()));
      row.push_back(ScoresText(head.salient()));
    }
    rows.push_back(std::move(row));
  });
  return Table(rows);
}

std::string ListPositions(const v1::SessionMemory& memory) {
  std::string text;
  ForEachHead(memory, [&](int layer, int kv_head, const v1::KvHeadMemory& head) {
    const auto& positions = head.salient().positions();
    if (positions.empty()) return;
    absl::StrAppend(&text, "layer ", layer, ", KV head ", kv_head, ":");
    for (int i = 0; i < positions.size(); ++i) {
      const int first = i;
      while (i + 1 < positions.size() && positions[i + 1] == positions[i] + 1) ++i;
      absl::StrAppend(&text, " ", positions[first]);
      if (i > first) absl::StrAppend(&text, "-", positions[i]);
    }
    text += "\n";
  });
  return text;
}

std::string PositionHistogram(const v1::SessionMemory& memory, int columns) {
  static constexpr const char* kBars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr int64_t kLevels = std::size(kBars) - 1;
  const int64_t length = std::max<int64_t>(1, memory.accounting().total_tokens());
  std::vector<int64_t> counts(columns, 0);
  ForEachHead(memory, [&](int, int, const v1::KvHeadMemory& head) {
    for (const int64_t position : head.salient().positions()) {
      const double share = static_cast<double>(position) / static_cast<double>(length);
      ++counts[std::clamp(static_cast<int>(share * columns), 0, columns - 1)];
    }
  });
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  if (most == 0) return "";
  std::string bar;
  // Rounded up: a single token shows.
  for (const int64_t count : counts) bar += kBars[(count * kLevels + most - 1) / most];
  const std::string end = Grouped(length);
  const int gap = std::max(1, columns - 1 - static_cast<int>(end.size()));
  return absl::StrCat(bar, "\n0", std::string(gap, ' '), end, "\n");
}

}  // namespace memgate
