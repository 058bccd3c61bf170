#include "engine/session/session_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/reference/compare.h"
#include "tests/reference/gated_rule.h"
#include "tests/session/scripted_session.h"

namespace memgate {
namespace {

// Counts what passes through it.
class CountingResource : public std::pmr::memory_resource {
 public:
  int64_t allocations = 0;
  int64_t bytes = 0;  // now
  size_t alignment = 0;

 private:
  void* do_allocate(size_t size, size_t align) override {
    ++allocations;
    bytes += static_cast<int64_t>(size);
    alignment = align;
    return std::pmr::new_delete_resource()->allocate(size, align);
  }
  void do_deallocate(void* pointer, size_t size, size_t align) override {
    bytes -= static_cast<int64_t>(size);
    std::pmr::new_delete_resource()->deallocate(pointer, size, align);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

const SessionShape kShapes[] = {{0, 1, 1, 0},  {0, 1, 1, 1},    {4, 8, 4, 3},   {1, 5, 7, 9},
                                {3, 16, 1, 5}, {4, 256, 64, 0}, {7, 33, 13, 64}};

// Every configuration with every format.
std::vector<std::pair<ModelConfig, KvFormat>> EachFormat(const std::vector<ModelConfig>& configs) {
  std::vector<std::pair<ModelConfig, KvFormat>> pairs;
  for (const ModelConfig& config : configs) {
    for (const KvFormat format : kKvFormats) pairs.emplace_back(config, format);
  }
  return pairs;
}

SessionShape ShapeFor(const MemoryKind& kind, SessionShape shape) {
  if (!kind.HasRetention()) shape.salient = 0;
  return shape;
}

TEST(SessionStateTest, CostsExactlyTheBytesAnnounced) {
  ModelConfig odd = SmallConfig();
  odd.num_layers = 1;
  odd.num_kv_heads = 1;
  odd.num_heads = 1;
  odd.head_dim = 2;
  for (const auto& [config, format] : EachFormat({SmallConfig(), odd, WindowedConfig()})) {
    const ScriptedModel model(config, format);
    for (const auto& kind : model.kinds()) {
      for (const SessionShape& any : kShapes) {
        const SessionShape shape = ShapeFor(*kind, any);
        const SessionBytes bytes = SessionState::Bytes(model.Context(*kind), shape);
        CountingResource resource;
        {
          const SessionState session(model.Context(*kind), shape, &resource);
          EXPECT_EQ(resource.bytes + static_cast<int64_t>(sizeof(SessionState)), bytes.total());
        }
        EXPECT_EQ(resource.bytes, 0);
        // Layers with a window that is shorter than the session hold its rows and nothing else.
        const int64_t heads = config.num_kv_heads;
        int64_t rows = 0, whole = 0;
        for (int l = 0; l < config.num_layers; ++l) {
          const int64_t window = config.layer(l).window;
          const bool local = window > 0 && window < shape.exact_capacity();
          rows += local ? shape.OfLocalLayer(window).rows() : shape.rows();
          whole += local ? 0 : 1;
        }
        EXPECT_EQ(bytes.key_value, 2 * heads * rows * KvRowBytes(format, config.head_dim));
        EXPECT_EQ(bytes.memory, whole * kind->StateFloats() * 4);
        EXPECT_EQ(bytes.features, whole * (shape.window + shape.segment) * heads * kind->TokenFeatures() * 4);
        const int64_t slots = whole * heads * shape.salient * (8 + 4 * kind->TokenFeatures());
        EXPECT_GE(bytes.salient, slots);
        EXPECT_LE(bytes.salient, slots + 7 * config.num_layers);
      }
    }
  }
}

TEST(SessionStateTest, NeverAllocatesAfterCreation) {
  const ScriptedModel model;
  for (const auto& kind : model.kinds()) {
    const SessionShape shape = ShapeFor(*kind, {2, 6, 3, 4});
    CountingResource resource;
    SessionState session(model.Context(*kind), shape, &resource);
    SessionState copy(model.Context(*kind), shape, &resource);
    EXPECT_EQ(resource.allocations, 2);
    Feed(model, session, 50);
    copy.CopyFrom(session);
    ASSERT_TRUE(copy.RestoreLive(50, Live(session)).ok());
    session.Clear();
    Feed(model, copy, 9);
    EXPECT_EQ(resource.allocations, 2) << kind->name();
  }
}

TEST(SessionStateTest, PartsOfALayerNeitherOverlapNorLeaveTheArena) {
  for (const auto& [config, format] : EachFormat({SmallConfig(), WindowedConfig()})) {
    const ScriptedModel model(config, format);
    for (const auto& kind : model.kinds()) {
      for (const SessionShape& any : kShapes) {
        const SessionShape shape = ShapeFor(*kind, any);
        SessionState session(model.Context(*kind), shape, std::pmr::new_delete_resource());
        std::vector<std::pair<const void*, const void*>> runs;
        const int64_t heads = model.config().num_kv_heads;
        for (int l = 0; l < model.config().num_layers; ++l) {
          const LayerView view = session.Layer(l);
          const SessionShape& own = view.shape;
          const int64_t store = heads * own.rows();
          EXPECT_EQ(reinterpret_cast<uintptr_t>(view.salient_positions) % alignof(int64_t), 0u);
          runs.emplace_back(view.salient_positions, view.salient_positions + heads * own.salient);
          const int64_t features = view.local() ? 0 : heads * kind->TokenFeatures();
          runs.emplace_back(view.features, view.features + int64_t{own.window + own.segment} * features);
          runs.emplace_back(view.salient_features, view.salient_features + own.salient * features);
          runs.emplace_back(view.memory.begin(), view.memory.end());
          runs.emplace_back(view.keys.at(0), view.keys.at(store));
          runs.emplace_back(view.values.at(0), view.values.at(store));
          EXPECT_EQ(reinterpret_cast<uintptr_t>(view.keys.at(0)) % alignof(float), 0u);
        }
        for (size_t i = 1; i < runs.size(); ++i) EXPECT_LE(runs[i - 1].second, runs[i].first) << i;
        const auto* begin = static_cast<const char*>(runs.front().first);
        const auto* end = static_cast<const char*>(runs.back().second);
        EXPECT_LE(end - begin, SessionState::Bytes(session.context(), shape).arena());
      }
    }
  }
}

// Compares the rows of every token that a layer must hold with what was fed.
void ExpectHeldTokens(const ScriptedModel& model, SessionState& session, int layer) {
  const int dim = model.config().head_dim;
  const auto frequencies =
      reference::RopeFrequencies(model.config().ropes[model.config().layer(layer).rope], dim);
  const LayerView view = session.Layer(layer);
  for (int64_t p = 0; p < session.length(); ++p) {
    const bool sink = p < view.shape.sinks;
    if (!sink && p < view.shape.sinks + view.folded) continue;
    for (int g = 0; g < model.config().num_kv_heads; ++g) {
      const int64_t row = g * view.shape.rows() + view.Row(p);
      ASSERT_EQ(LoadRow(view.values, row, dim)[0], ScriptedValue(layer, g, p))
          << session.length() << " " << p;
      // Sinks are un-rotated once something was folded.
      const double angle = sink && view.folded > 0 ? 0.0 : static_cast<double>(p);
      const auto expected =
          reference::Rotated(reference::ToDouble(ScriptedKey(layer, g, p, dim)), frequencies, angle);
      ASSERT_LT(reference::RelativeError(LoadRow(view.keys, row, dim), expected), 2e-6)
          << session.length() << " " << p;
    }
  }
}

TEST(SessionStateTest, WindowAndSinksHoldTheirTokensAtEveryLength) {
  for (const ModelConfig& config : {SmallConfig(), WindowedConfig()}) {
    const ScriptedModel model(config);
    for (const auto& kind : model.kinds()) {
      const SessionShape shape = ShapeFor(*kind, {3, 7, 4, 2});
      SessionState session(model.Context(*kind), shape, std::pmr::new_delete_resource());
      for (int64_t length = 1; length <= 60; ++length) {
        Feed(model, session, 1);
        ASSERT_EQ(session.length(), length);
        ASSERT_EQ(session.folded(), shape.FoldedAt(length - 1));
        for (int l = 0; l < config.num_layers; ++l) ExpectHeldTokens(model, session, l);
      }
    }
  }
}

// A layer whose window is 6 tokens: those in front of any query are there.
TEST(SessionStateTest, LocalLayersHoldTheirWindowAndNothingElse) {
  const ScriptedModel model(WindowedConfig());
  for (const auto& kind : model.kinds()) {
    const SessionShape shape = ShapeFor(*kind, {3, 7, 4, 2});  // 14 tokens: less than the third layer sees
    SessionState session(model.Context(*kind), shape, std::pmr::new_delete_resource());
    EXPECT_FALSE(session.Layer(0).local());
    EXPECT_FALSE(session.Layer(2).local());
    const LayerView local = session.Layer(1);
    EXPECT_EQ(local.local_window, 6);
    EXPECT_EQ(local.shape, shape.OfLocalLayer(6));
    EXPECT_TRUE(local.memory.empty());
    for (int64_t length = 1; length <= 60; ++length) {
      Feed(model, session, 1);
      EXPECT_LE(session.Layer(1).folded, std::max<int64_t>(0, length - 1 - (6 - 1)));
      EXPECT_TRUE(session.settled());
    }
  }
}

TEST(SessionStateTest, ChunksEndWhereAnyLayerFolds) {
  const ScriptedModel model(WindowedConfig());
  const SessionShape shape{3, 7, 4, 0};  // folds at 14, 18, ...; the local layer at 10, 14, ...
  SessionState session(model.Context(model.window()), shape, std::pmr::new_delete_resource());
  EXPECT_EQ(session.TokensUntilFold(), 10);
  Feed(model, session, 10);
  EXPECT_EQ(session.TokensUntilFold(), 4);
  Feed(model, session, 3);
  EXPECT_EQ(session.TokensUntilFold(), 1);
  EXPECT_EQ(session.Layer(1).folded, 4);
  EXPECT_EQ(session.folded(), 0);
  Feed(model, session, 2);
  EXPECT_EQ(session.TokensUntilFold(), 3);
  EXPECT_EQ(session.Layer(1).folded, 8);
  EXPECT_EQ(session.folded(), 4);
}

TEST(SessionStateTest, AStepThatFailedLeavesItUnsettled) {
  const ScriptedModel model(WindowedConfig());
  SessionState session(model.Context(model.window()), {3, 7, 4, 0}, std::pmr::new_delete_resource());
  Feed(model, session, 10);
  EXPECT_TRUE(session.settled());
  session.Prepare(1);  // folds the local layer
  EXPECT_FALSE(session.settled());
  Feed(model, session, 1);
  EXPECT_TRUE(session.settled());
}

// A row of `x` in `format`, read back.
std::vector<float> Rounded(KvFormat format, const std::vector<float>& x) {
  const int dim = static_cast<int>(x.size());
  std::vector<std::byte> bytes(KvRowBytes(format, dim));
  const KvRows rows(format, dim, bytes.data());
  rows.Store(0, x.data());
  return LoadRow(rows, 0, dim);
}

// The number of roundings is fixed, whenever a session folds.
TEST(SessionStateTest, RoundsValuesOnceAndKeysOnceMoreWhenTheyAreRotatedBack) {
  for (const KvFormat format : kKvFormats) {
    const ScriptedModel model(SmallConfig(), format);
    const int dim = model.config().head_dim;
    const SessionShape shape{3, 7, 4, 5};
    SessionState session(model.Context(model.memgate()), shape, std::pmr::new_delete_resource());
    const auto expect = [&](int l, int g, int64_t row, int64_t position, bool rotated_back) {
      const LayerView view = session.Layer(l);
      std::vector<float> cos_sin(dim), key = ScriptedKey(l, g, position, dim);
      model.rope(l).Angles(position, cos_sin.data());
      Rotate(cos_sin.data(), dim, key.data(), key.data());
      key = Rounded(format, key);
      if (rotated_back) {
        RotateBack(cos_sin.data(), dim, key.data(), key.data());
        key = Rounded(format, key);
      }
      ASSERT_EQ(LoadRow(view.keys, row, dim), key) << KvFormatName(format) << " " << position;
      const std::vector<float> value(dim, ScriptedValue(l, g, position));
      ASSERT_EQ(LoadRow(view.values, row, dim), Rounded(format, value)) << KvFormatName(format);
    };
    for (int64_t length = 1; length <= 60; ++length) {
      Feed(model, session, 1,
           [](int l, int g, int64_t p) { return static_cast<float>((p * 7 + l + g) % 13); });
      for (int l = 0; l < model.config().num_layers; ++l) {
        for (int g = 0; g < model.config().num_kv_heads; ++g) {
          const int64_t first_row = g * shape.rows();
          for (int64_t p = 0; p < session.sink_count(); ++p)
            expect(l, g, first_row + p, p, session.folded() > 0);
          for (int64_t p = shape.sinks + session.folded(); p < length; ++p) {
            expect(l, g, first_row + session.Layer(l).Row(p), p, false);
          }
          const int64_t* positions = session.Layer(l).salient_positions + int64_t{g} * shape.salient;
          for (int e = 0; e < session.salient_count(); ++e) {
            expect(l, g, first_row + shape.sinks + e, positions[e], true);
          }
        }
      }
    }
  }
}

// Feeds scores and compares every layer's and head's slots with the offline choice.
void ExpectBestTokensKept(const SessionShape& shape, int64_t length, const ScoreScript& score) {
  const ScriptedModel model;
  const int dim = model.config().head_dim;
  SessionState session(model.Context(model.memgate()), shape, std::pmr::new_delete_resource());
  for (int64_t done = 0; done < length; ++done) {
    Feed(model, session, 1, score);
    for (int l = 0; l < model.config().num_layers; ++l) {
      const LayerView view = session.Layer(l);
      for (int g = 0; g < model.config().num_kv_heads; ++g) {
        reference::Vector scores;
        for (int64_t p = 0; p < session.length(); ++p) scores.push_back(score(l, g, p));
        const auto best =
            reference::BestByScore(scores, shape.sinks, shape.sinks + session.folded(), shape.salient);
        std::vector<int64_t> kept(view.salient_positions + g * shape.salient,
                                  view.salient_positions + g * shape.salient + session.salient_count());
        for (size_t e = 0; e < kept.size(); ++e) {
          const int64_t row = g * shape.rows() + shape.sinks + static_cast<int64_t>(e);
          ASSERT_EQ(LoadRow(view.values, row, dim)[0], ScriptedValue(l, g, kept[e]))
              << "value of another token";
          ASSERT_LT(reference::RelativeError(LoadRow(view.keys, row, dim),
                                             reference::ToDouble(ScriptedKey(l, g, kept[e], dim))),
                    2e-6)
              << "key is not un-rotated";
        }
        std::sort(kept.begin(), kept.end());
        ASSERT_EQ(kept, best) << "layer " << l << " head " << g << " length " << session.length();
      }
    }
  }
}

TEST(SessionStateTest, SalientSlotsEqualTheOfflineBest) {
  std::vector<float> scores(3 * 3 * 200);
  std::mt19937 random(5);
  for (float& score : scores) score = static_cast<float>(random() % 100'000);
  const auto script = [&](int l, int g, int64_t p) { return scores[(l * 3 + g) * 200 + p]; };
  ExpectBestTokensKept({2, 5, 3, 4}, 120, script);
  ExpectBestTokensKept({0, 1, 1, 1}, 60, script);
  ExpectBestTokensKept({4, 9, 8, 30}, 120, script);
}

TEST(SessionStateTest, OlderTokenStaysOnEqualScores) {
  ExpectBestTokensKept({1, 4, 3, 5}, 60, [](int, int, int64_t) { return 1.0f; });
  ExpectBestTokensKept({1, 4, 3, 5}, 90,
                       [](int l, int g, int64_t p) { return static_cast<float>((p * 7 + l + g) % 3); });
}

TEST(SessionStateTest, ScoreThatIsNoNumberNeverWinsASlot) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  ExpectBestTokensKept({1, 4, 3, 5}, 60, [&](int, int, int64_t) { return nan; });
  ExpectBestTokensKept({1, 4, 3, 5}, 90, [&](int, int g, int64_t p) {
    switch ((p + g) % 5) {
      case 0:
        return nan;
      case 1:
        return -infinity;
      case 2:
        return p % 20 == 2 ? infinity : -1.0f;
      default:
        return static_cast<float>(p % 13);
    }
  });
}

// Remembers what it is told to write.
class RecordingKind : public MemoryKind {
 public:
  struct Token {
    int64_t position;
    std::vector<float> key, value, features;
  };

  explicit RecordingKind(const ModelConfig& config)
      : MemoryKind("recording"), config_(config), written_(config.num_layers * config.num_kv_heads) {}
  bool HasRetention() const override { return true; }
  int TokenFeatures() const override { return 2; }
  int64_t StateFloats() const override { return 1; }
  void Write(int layer, const EvictedTokens& evicted, absl::Span<float> /*state*/) const override {
    const int dim = config_.head_dim;
    for (int t = 0; t < evicted.tokens; ++t) {
      written_[layer * config_.num_kv_heads + evicted.kv_head].push_back(
          {evicted.positions[t],
           {evicted.keys + t * dim, evicted.keys + (t + 1) * dim},
           {evicted.values + t * dim, evicted.values + (t + 1) * dim},
           {evicted.features + t * 2, evicted.features + (t + 1) * 2}});
    }
  }
  // Of one layer and KV head, in the order of writing.
  const std::vector<Token>& written(int layer, int kv_head) const {
    return written_[layer * config_.num_kv_heads + kv_head];
  }

 private:
  const ModelConfig& config_;
  mutable std::vector<std::vector<Token>> written_;  // each is written by one thread at a time
};

// Every token that left the window is in a slot or was written once, as it was when it entered; each fold
// writes in order of position.
void ExpectLosersWritten(const SessionShape& shape, int64_t length) {
  const ScriptedModel model;
  const RecordingKind kind(model.config());
  SessionState session(model.Context(kind), shape, std::pmr::new_delete_resource());
  const auto score = [](int l, int g, int64_t p) {
    return static_cast<float>((p * 37 + l * 11 + g * 5) % 50);
  };
  for (int64_t done = 1; done <= length; ++done) {
    Feed(model, session, 1, score);
    for (int l = 0; l < model.config().num_layers; ++l) {
      const LayerView view = session.Layer(l);
      for (int g = 0; g < model.config().num_kv_heads; ++g) {
        const auto& written = kind.written(l, g);
        ASSERT_EQ(static_cast<int64_t>(written.size()), session.written()) << done;
        std::vector<int64_t> held(view.salient_positions + g * shape.salient,
                                  view.salient_positions + g * shape.salient + session.salient_count());
        for (int e = 0; e < session.salient_count(); ++e) {
          const float* features = view.salient_features + (int64_t{g} * shape.salient + e) * 2;
          ASSERT_EQ(features[0], score(l, g, held[e]));
          ASSERT_EQ(features[1], ScriptedStrength(l, g, held[e]));
        }
        for (const RecordingKind::Token& token : written) held.push_back(token.position);
        std::sort(held.begin(), held.end());
        for (int64_t i = 0; i < session.folded(); ++i) ASSERT_EQ(held[i], shape.sinks + i) << done;
      }
    }
  }
  for (int l = 0; l < model.config().num_layers; ++l) {
    for (int g = 0; g < model.config().num_kv_heads; ++g) {
      const auto& written = kind.written(l, g);
      for (size_t i = 0; i < written.size(); ++i) {
        const RecordingKind::Token& token = written[i];
        EXPECT_EQ(token.value[0], ScriptedValue(l, g, token.position));
        EXPECT_EQ(token.features,
                  (std::vector<float>{score(l, g, token.position), ScriptedStrength(l, g, token.position)}));
        const auto key = ScriptedKey(l, g, token.position, model.config().head_dim);
        for (size_t d = 0; d < key.size(); ++d) EXPECT_NEAR(token.key[d], key[d], 1e-6);
        // The first fold that writes may write fewer than P, every later one writes P.
        const bool last_of_fold = (written.size() - 1 - i) % shape.segment == 0;
        if (last_of_fold) continue;
        EXPECT_LT(token.position, written[i + 1].position);
      }
    }
  }
}

TEST(SessionStateTest, WhatHasNoSlotIsWrittenOnceAndInOrder) {
  ExpectLosersWritten({2, 5, 3, 4}, 90);
  ExpectLosersWritten({0, 1, 1, 1}, 60);
  ExpectLosersWritten({3, 9, 8, 30}, 120);
  ExpectLosersWritten({1, 6, 4, 0}, 60);  // no slots: all of it
}

TEST(SessionStateTest, AccountingAddsUpAtEveryLength) {
  const ScriptedModel model;
  for (const auto& kind : model.kinds()) {
    for (const SessionShape& any :
         {SessionShape{3, 7, 4, 6}, SessionShape{0, 1, 1, 2}, SessionShape{2, 5, 9, 4}}) {
      const SessionShape shape = ShapeFor(*kind, any);
      SessionState session(model.Context(*kind), shape, std::pmr::new_delete_resource());
      for (int64_t length = 0; length <= 80; ++length) {
        for (const int pending : {0, 1}) {
          const TokenAccounting a = session.Accounting(pending);
          EXPECT_EQ(a.total, length + pending);
          EXPECT_EQ(a.exact + a.salient + a.compressed + a.forgotten, a.total);
          EXPECT_GE(a.exact, 0);
          EXPECT_GE(a.compressed, 0);
          EXPECT_GE(a.forgotten, 0);
          EXPECT_LE(a.salient, shape.salient);
          EXPECT_EQ(kind->Recalls() ? a.forgotten : a.compressed, 0);
        }
        const TokenAccounting held = session.Accounting(0);
        const TokenAccounting planned = AccountTokens(*kind, shape, length);
        EXPECT_EQ(planned.total, held.total);
        EXPECT_EQ(planned.exact, held.exact);
        EXPECT_EQ(planned.salient, held.salient);
        EXPECT_EQ(planned.compressed, held.compressed);
        EXPECT_EQ(planned.forgotten, held.forgotten);
        EXPECT_EQ(session.memory_writes(), session.folded() / shape.segment);
        Feed(model, session, 1);
      }
    }
  }
}

TEST(SessionStateTest, LiveBytesAreKnownAtEveryLengthAndRestore) {
  for (const auto& [config, format] : EachFormat({SmallConfig(), WindowedConfig()})) {
    const ScriptedModel model(config, format);
    for (const auto& kind : model.kinds()) {
      const SessionShape shape = ShapeFor(*kind, {3, 6, 4, 5});
      SessionState session(model.Context(*kind), shape, std::pmr::new_delete_resource());
      SessionState restored(model.Context(*kind), shape, std::pmr::new_delete_resource());
      for (int64_t length = 0; length <= 50; ++length) {
        const std::string live = Live(session);
        EXPECT_EQ(static_cast<int64_t>(live.size()),
                  SessionState::LiveBytes(session.context(), shape, length));
        const absl::Status status = restored.RestoreLive(length, live);
        ASSERT_TRUE(status.ok()) << status;
        EXPECT_EQ(Live(restored), live);
        EXPECT_EQ(restored.length(), session.length());
        EXPECT_EQ(restored.folded(), session.folded());
        Feed(model, session, 1, [](int, int, int64_t p) { return static_cast<float>(p % 7); });
      }
    }
  }
}

TEST(SessionStateTest, RefusesLiveStateOfAnotherLength) {
  const ScriptedModel model;
  for (const auto& kind : model.kinds()) {
    const SessionShape shape = ShapeFor(*kind, {3, 6, 4, 5});
    SessionState session(model.Context(*kind), shape, std::pmr::new_delete_resource());
    Feed(model, session, 30);
    std::string live = Live(session);
    const size_t size = live.size();
    for (const int64_t length : {int64_t{0}, int64_t{1}, int64_t{29}, int64_t{31}, int64_t{1} << 48}) {
      SessionState target(model.Context(*kind), shape, std::pmr::new_delete_resource());
      const absl::Status status = target.RestoreLive(length, live);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << kind->name() << " " << length;
      EXPECT_EQ(target.length(), 0);
    }
    live.push_back('x');
    EXPECT_FALSE(session.RestoreLive(30, live).ok());
    live.resize(size - 1);
    const absl::Status status = session.RestoreLive(30, live);
    EXPECT_EQ(status.message(),
              absl::StrCat("a session of 30 tokens has ", size, " bytes of state, not ", size - 1));
    EXPECT_EQ(session.length(), 0) << "a refused session is cleared";
    EXPECT_EQ(session.folded(), 0);
  }
}

TEST(SessionStateTest, RefusesSalientTokensAtImpossiblePositions) {
  const ScriptedModel model;
  const SessionShape shape{2, 5, 4, 3};
  for (const int64_t position : {int64_t{-1}, int64_t{0}, int64_t{1}, int64_t{2 + 24}, int64_t{1} << 60}) {
    SessionState session(model.Context(model.memgate()), shape, std::pmr::new_delete_resource());
    Feed(model, session, 2 + 5 + 4 + 20 + 1);
    ASSERT_EQ(session.folded(), 24);
    session.Layer(1).salient_positions[4] = position;
    const std::string live = Live(session);
    SessionState target(model.Context(model.memgate()), shape, std::pmr::new_delete_resource());
    const absl::Status status = target.RestoreLive(session.length(), live);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << position;
    EXPECT_EQ(status.message(), absl::StrCat("salient slot at impossible position ", position));
    EXPECT_EQ(target.length(), 0);
  }
}

TEST(SessionStateTest, RefusesATokenInTwoSlotsOfAHead) {
  const ScriptedModel model;
  SessionState session(model.Context(model.memgate()), {2, 5, 4, 3}, std::pmr::new_delete_resource());
  Feed(model, session, 30);
  int64_t* positions = session.Layer(2).salient_positions;
  std::copy_n(positions, 3, positions + 3);  // two heads may hold the same tokens
  SessionState target(session.context(), session.shape(), std::pmr::new_delete_resource());
  ASSERT_TRUE(target.RestoreLive(30, Live(session)).ok());
  positions[4] = positions[3];
  const absl::Status status = target.RestoreLive(30, Live(session));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), absl::StrCat("position ", positions[3], " in two salient slots"));
  EXPECT_EQ(target.length(), 0);
}

}  // namespace
}  // namespace memgate
