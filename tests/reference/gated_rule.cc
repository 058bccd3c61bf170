#include "tests/reference/gated_rule.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

namespace memgate::reference {
namespace {

constexpr double kEpsilon = 1e-6;

// ELU(x) + 1.
Vector FeatureMap(const Vector& x) {
  Vector out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] > 0 ? x[i] + 1 : std::exp(x[i]);
  return out;
}

struct Memory {
  Rows matrix;        // [D features, D values]
  Vector normaliser;  // [D]

  explicit Memory(size_t dim) : matrix(dim, Vector(dim, 0.0)), normaliser(dim, 0.0) {}

  Vector Read(const Vector& phi) const {
    Vector out(phi.size(), 0.0);
    for (size_t d = 0; d < phi.size(); ++d) {
      for (size_t v = 0; v < phi.size(); ++v) out[v] += phi[d] * matrix[d][v];
    }
    const double denominator = Dot(phi, normaliser) + kEpsilon;
    for (double& x : out) x /= denominator;
    return out;
  }
};

// The memory after the folded tokens [begin, begin + folded), segment by segment.
Memory FoldedMemory(const GatedRule& rule, const HeadHistory& history, int64_t begin, int64_t folded) {
  Memory memory(history.keys.front().size());
  for (int64_t segment = begin; segment < begin + folded; segment += rule.shape.segment) {
    const Memory before = memory;  // the delta rule recalls what was known before the segment
    for (int64_t t = segment; t < segment + rule.shape.segment; ++t) {
      const Vector phi = FeatureMap(history.keys[t]);
      Vector update = history.values[t];
      if (rule.rule == MemoryRule::kInfiniDelta) {
        const Vector known = before.Read(phi);
        for (size_t v = 0; v < update.size(); ++v) update[v] -= known[v];
      }
      for (size_t d = 0; d < phi.size(); ++d) {
        for (size_t v = 0; v < phi.size(); ++v) memory.matrix[d][v] += phi[d] * update[v];
        memory.normaliser[d] += phi[d];
      }
    }
  }
  return memory;
}

// Positions in the order in which folding `folded` tokens writes them: per fold, those of the slots and the
// segment that are not among the best E so far, by position.
std::vector<int64_t> WrittenTokens(const GatedRule& rule, const Vector& scores, int64_t folded) {
  const int64_t begin = rule.shape.sinks;
  std::vector<int64_t> written;
  std::vector<int64_t> slots;
  for (int64_t end = begin + rule.shape.segment; end <= begin + folded; end += rule.shape.segment) {
    std::vector<int64_t> candidates = slots;
    for (int64_t t = end - rule.shape.segment; t < end; ++t) candidates.push_back(t);
    slots = BestByScore(scores, begin, end, rule.shape.salient);
    std::set_difference(candidates.begin(), candidates.end(), slots.begin(), slots.end(),
                        std::back_inserter(written));
  }
  return written;
}

// phi(q)^T M after those writes: M <- alpha M, then M <- M + phi(k) (beta (v - phi(k)^T M))^T.
Vector ReadMatrix(const GatedRule& rule, const HeadHistory& history, int64_t folded, const Vector& query) {
  const size_t dim = history.values.front().size();
  Rows matrix(query.size(), Vector(dim, 0.0));
  const auto read = [&](const Vector& phi) {
    Vector out(dim, 0.0);
    for (size_t k = 0; k < phi.size(); ++k) {
      for (size_t d = 0; d < dim; ++d) out[d] += phi[k] * matrix[k][d];
    }
    return out;
  };
  for (const int64_t t : WrittenTokens(rule, history.scores, folded)) {
    const double beta = history.strengths[t];
    const double alpha = std::exp(-std::exp(history.decay) * beta);
    for (Vector& row : matrix) {
      for (double& x : row) x *= alpha;
    }
    const Vector& phi = history.key_features[t];
    const Vector known = read(phi);
    for (size_t k = 0; k < phi.size(); ++k) {
      for (size_t d = 0; d < dim; ++d) matrix[k][d] += phi[k] * beta * (history.values[t][d] - known[d]);
    }
  }
  return read(query);
}

// The first token that a query of a layer with a window sees, if that window is shorter than what a session
// holds. A session that holds too little in front of a query holds the last S + W to S + W + P tokens there.
int64_t FirstSeen(const GatedRule& rule, int64_t window, int64_t position) {
  const SessionShape& shape = rule.shape;
  const int64_t first = std::max<int64_t>(0, position - window + 1);
  if (rule.rule == MemoryRule::kUnbounded || shape.sinks + shape.window >= window - 1) return first;
  SessionShape held = shape;
  held.sinks = 0;
  held.window = shape.sinks + shape.window;
  return std::max(first, FoldedTokens(held, position));
}

}  // namespace

Vector MatrixFeatures(const Vector& x, absl::Span<const double> scale, absl::Span<const double> shift) {
  Vector out(2 * x.size());
  for (size_t d = 0; d < x.size(); ++d) {
    const double u = scale[d] * x[d] + shift[d];
    out[d] = u > 0 ? u : 0;
    out[x.size() + d] = u < 0 ? -u : 0;
  }
  const double length = std::max(std::sqrt(Dot(out, out)), kEpsilon);
  for (double& c : out) c /= length;
  return out;
}

int64_t FoldedTokens(const SessionShape& shape, int64_t position) {
  int64_t folded = 0;
  while (position - (shape.sinks + folded + shape.segment) >= shape.window) folded += shape.segment;
  return folded;
}

std::vector<int64_t> BestByScore(const Vector& scores, int64_t begin, int64_t end, int64_t count) {
  std::vector<int64_t> order(end - begin);
  std::iota(order.begin(), order.end(), begin);
  const auto value = [&](int64_t t) {
    return std::isnan(scores[t]) ? -std::numeric_limits<double>::infinity() : scores[t];
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return value(a) > value(b); });
  order.resize(std::min<size_t>(order.size(), count));
  std::sort(order.begin(), order.end());
  return order;
}

Vector AttendHead(const GatedRule& rule, const QueryHead& head, const HeadHistory& history,
                  const Vector& frequencies, const Vector& query, int64_t position) {
  const int dim = static_cast<int>(query.size());
  const LayerRule& layer = head.layer;
  const double scale = layer.scale > 0 ? layer.scale : 1.0 / std::sqrt(static_cast<double>(dim));
  const SessionShape& shape = rule.shape;
  const bool bounded = rule.rule != MemoryRule::kUnbounded;
  const int64_t folded = bounded ? FoldedTokens(shape, position) : 0;
  Vector logits;
  Rows values;
  const auto see = [&](int64_t t, double product) {
    const double score = scale * product;
    logits.push_back(layer.cap > 0 ? layer.cap * std::tanh(score / layer.cap) : score);
    values.push_back(history.values[t]);
  };
  const auto see_near = [&](int64_t t) {
    see(t, Dot(Rotated(query, frequencies, position), Rotated(history.keys[t], frequencies, t)));
  };
  const auto see_far = [&](int64_t t) {
    see(t, Dot(Rotated(query, frequencies, shape.far_distance()), history.keys[t]));
  };

  if (layer.window > 0 && (!bounded || layer.window < shape.exact_capacity())) {
    for (int64_t t = FirstSeen(rule, layer.window, position); t <= position; ++t) see_near(t);
    return WeightedSum(logits, values, dim);
  }
  if (folded == 0) {
    for (int64_t t = 0; t <= position; ++t) see_near(t);
    return WeightedSum(logits, values, dim);
  }
  for (int64_t t = 0; t < shape.sinks; ++t) see_far(t);
  if (rule.rule == MemoryRule::kSalient || rule.rule == MemoryRule::kMatrix) {
    for (const int64_t t : BestByScore(history.scores, shape.sinks, shape.sinks + folded, shape.salient)) {
      see_far(t);
    }
  }
  for (int64_t t = shape.sinks + folded; t <= position; ++t) see_near(t);
  Vector out = WeightedSum(logits, values, dim);
  if (rule.rule == MemoryRule::kInfini || rule.rule == MemoryRule::kInfiniDelta) {
    const Vector recalled = FoldedMemory(rule, history, shape.sinks, folded).Read(FeatureMap(query));
    const double gate = 1.0 / (1.0 + std::exp(-head.beta));
    for (int d = 0; d < dim; ++d) out[d] = gate * recalled[d] + (1 - gate) * out[d];
  }
  if (rule.rule == MemoryRule::kMatrix) {
    const Vector recalled = ReadMatrix(rule, history, folded, head.features);
    for (int d = 0; d < dim; ++d) out[d] += head.gain * recalled[d];
  }
  return out;
}

}  // namespace memgate::reference
