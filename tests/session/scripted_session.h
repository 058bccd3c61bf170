// Sessions without a model: their rows are filled by a script, so that a test knows what every row must hold.
#ifndef MEMGATE_TESTS_SESSION_SCRIPTED_SESSION_H_
#define MEMGATE_TESTS_SESSION_SCRIPTED_SESSION_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/memory/infini.h"
#include "engine/memory/memgate.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/self_recall.h"
#include "engine/session/session_state.h"
#include "tests/reference/operators.h"

namespace memgate {

inline ModelConfig SmallConfig() {
  ModelConfig config;
  config.num_layers = 3;
  config.hidden_size = 8;
  config.num_heads = 6;
  config.num_kv_heads = 3;
  config.head_dim = 10;
  return config;
}

// The same with a layer that is local in most sessions, and one that is in few and rotates in another way.
inline ModelConfig WindowedConfig() {
  ModelConfig config = SmallConfig();
  config.ropes = {{}, {.theta = 100.0}};
  config.layers = {{}, {.window = 6}, {.window = 20, .rope = 1}};
  return config;
}

// What sessions share; owns it.
class ScriptedModel {
 public:
  explicit ScriptedModel(ModelConfig config = SmallConfig(), KvFormat kv_format = KvFormat::kF32)
      : config_(std::move(config)), kv_format_(kv_format), ropes_(config_) {
    kinds_.push_back(MakeWindowKind());
    kinds_.push_back(MakeMemgateKind(config_, NoRetention()));
    kinds_.push_back(MakeInfiniKind(config_, InfiniRule::kLinear, std::nullopt));
    kinds_.push_back(MakeInfiniKind(config_, InfiniRule::kDelta, std::nullopt));
    kinds_.push_back(MakeMemgateKind(config_, NoRetention(), PlainMatrix()));
    kinds_.push_back(MakeSelfRecallKind(config_));
  }

  const ModelConfig& config() const { return config_; }
  const std::vector<std::unique_ptr<MemoryKind>>& kinds() const { return kinds_; }
  const MemoryKind& window() const { return *kinds_[0]; }
  const MemoryKind& memgate() const { return *kinds_[1]; }
  const MemoryKind& infini() const { return *kinds_[2]; }
  const MemoryKind& matrix() const { return *kinds_[4]; }  // slots and a matrix
  SessionContext Context(const MemoryKind& kind) const { return {&config_, &kind, &ropes_, kv_format_}; }
  const Rope& rope(int layer) const { return ropes_.At(config_.layer(layer).rope, 0); }

 private:
  RetentionWeights NoRetention() const {
    const int heads = config_.num_layers * config_.num_kv_heads;
    return {std::vector<float>(heads * config_.hidden_size, 0.0f), std::vector<float>(heads, 0.0f)};
  }
  MatrixWeights PlainMatrix() const {
    const int kv_heads = config_.num_layers * config_.num_kv_heads;
    const int heads = config_.num_layers * config_.num_heads;
    const auto filled = [](int64_t count, float value) { return std::vector<float>(count, value); };
    return {.write_weight = filled(int64_t{kv_heads} * config_.hidden_size, 0.0f),
            .write_bias = filled(kv_heads, 0.0f),
            .decay = filled(kv_heads, -3.0f),
            .key_scale = filled(kv_heads * config_.head_dim, 1.0f),
            .key_shift = filled(kv_heads * config_.head_dim, 0.0f),
            .query_scale = filled(heads * config_.head_dim, 1.0f),
            .query_shift = filled(heads * config_.head_dim, 0.0f),
            .gain = filled(heads, 1.0f)};
  }

  const ModelConfig config_;
  const KvFormat kv_format_;
  const LayerRopes ropes_;
  std::vector<std::unique_ptr<MemoryKind>> kinds_;
};

// The un-rotated key of a token: different for every layer, head and position.
inline std::vector<float> ScriptedKey(int layer, int kv_head, int64_t position, int head_dim) {
  std::vector<float> key(head_dim);
  for (int d = 0; d < head_dim; ++d) {
    key[d] = static_cast<float>(((position * 31 + layer * 7 + kv_head * 3 + d * 5) % 97) / 97.0 - 0.5);
  }
  return key;
}

inline float ScriptedValue(int layer, int kv_head, int64_t position) {
  return static_cast<float>(position * 16 + layer * 4 + kv_head);
}

// The write strength of a token, for kinds that have one.
inline float ScriptedStrength(int layer, int kv_head, int64_t position) {
  return static_cast<float>(((position * 13 + layer * 5 + kv_head) % 11) / 11.0);
}

// score(layer, kv_head, position).
using ScoreScript = std::function<float(int, int, int64_t)>;

// Takes in `tokens` tokens as attention would.
inline void Feed(const ScriptedModel& model, SessionState& session, int64_t tokens,
                 const ScoreScript& score = {}) {
  const int dim = model.config().head_dim;
  std::vector<float> cos_sin(dim), key(dim);
  for (; tokens > 0; --tokens) {
    const int64_t position = session.length();
    session.Prepare(1);
    for (int l = 0; l < model.config().num_layers; ++l) {
      const LayerView view = session.Layer(l);
      model.rope(l).Angles(position, cos_sin.data());
      for (int g = 0; g < model.config().num_kv_heads; ++g) {
        const int64_t row = g * view.shape.rows() + view.Row(position);
        Rotate(cos_sin.data(), dim, ScriptedKey(l, g, position, dim).data(), key.data());
        view.keys.Store(row, key.data());
        view.values.Store(row, std::vector<float>(dim, ScriptedValue(l, g, position)).data());
        if (session.kind().HasRetention() && !view.local() && position >= view.shape.sinks) {
          const int64_t window_row = view.Row(position) - view.window_row();
          float* features =
              view.features + (window_row * model.config().num_kv_heads + g) * session.kind().TokenFeatures();
          features[0] = score ? score(l, g, position) : 0.0f;
          if (session.kind().TokenFeatures() > 1) features[1] = ScriptedStrength(l, g, position);
        }
      }
    }
    session.Commit(1);
  }
}

// What a row holds.
inline std::vector<float> LoadRow(const KvRows& rows, int64_t row, int head_dim) {
  std::vector<float> out(head_dim);
  rows.Load(row, 1, out.data());
  return out;
}

inline std::string Live(const SessionState& session) {
  std::string live;
  session.AppendLive(live);
  return live;
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_SESSION_SCRIPTED_SESSION_H_
