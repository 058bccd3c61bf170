// What must stay equal however the same tokens reach the model.
#include "engine/model/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
#include "engine/kernels/dnnl_matrix.h"
#include "engine/kernels/parallel.h"
#include "engine/memory/ahn.h"
#include "engine/memory/edgeinfinite.h"
#include "engine/memory/infini.h"
#include "engine/memory/memgate.h"
#include "engine/memory/self_recall.h"
#include "engine/session/snapshot.h"
#include "tests/model/running_model.h"
#include "tests/reference/compare.h"
#include "tests/reference/transformer.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {
namespace {

// A tiny model, one kind of each rule over it, and the oracle's view of them.
class TransformerTest : public testing::Test {
 protected:
  static constexpr int kStepTokens = 128;  // most tokens of a step: a chunk of every kind at once

  explicit TransformerTest(TinyArchitecture architecture = TinyArchitecture::kLlama,
                           WeightFormat weights = WeightFormat::kF32)
      : model_(WriteTinyModel(folder_.path(), {.architecture = architecture}), kStepTokens, weights),
        config_(model_.config()) {
    for (const float x : reference::RandomFloats(5, config_.num_layers * config_.num_heads))
      betas_.push_back(2 * x);
    retention_.weight =
        reference::RandomFloats(6, config_.num_layers * config_.num_kv_heads * config_.hidden_size);
    retention_.bias = reference::RandomFloats(7, config_.num_layers * config_.num_kv_heads);
    window_ = MakeWindowKind();
    memgate_ = MakeMemgateKind(config_, retention_);
    infini_ = MakeInfiniKind(config_, InfiniRule::kLinear, betas_);
    infini_delta_ = MakeInfiniKind(config_, InfiniRule::kDelta, betas_);
    infini_unit_ = MakeInfiniKind(config_, InfiniRule::kUnitDelta, betas_);
    const int layers = config_.num_layers, c = config_.hidden_size, d = config_.head_dim;
    const int g = layers * config_.num_kv_heads, h = layers * config_.num_heads;
    matrix_ = {.write_weight = Random(8, g * c),
               .write_bias = Random(9, g),
               .decay = Random(10, g, -2.0f),
               .key_scale = Random(11, g * d),
               .key_shift = Random(12, g * d),
               .query_scale = Random(13, h * d),
               .query_shift = Random(14, h * d),
               .gain = Random(15, h)};
    memgate_matrix_ = MakeMemgateKind(config_, retention_, matrix_);
    self_recall_ = MakeSelfRecallKind(config_);
    edgeinfinite_ = MakeEdgeInfiniteKind(
        config_,
        {.inner = 5, .w1 = Random(16, h * 5 * d), .w2 = Random(17, h * 5 * d), .gate = Random(18, h)});
    ahn_ = MakeAhnKind(config_, {.b_proj = Random(19, h * c),
                                 .a_proj = Random(20, h * c),
                                 .a_log = Random(21, h),
                                 .dt_bias = Random(22, h, -2.0f),
                                 .g_proj = Random(23, h * c),
                                 .o_norm = Random(24, layers * d, 1.0f),
                                 .o_proj = Random(25, h * d * d)});
  }

  static std::vector<float> Random(uint64_t seed, int count, float mean = 0.0f) {
    std::vector<float> out = reference::RandomFloats(seed, count);
    for (float& x : out) x += mean;
    return out;
  }
  // Those whose definition tests/reference/gated_rule.h has.
  std::vector<const MemoryKind*> DefinedKinds() const {
    return {window_.get(), memgate_.get(), memgate_matrix_.get(), infini_.get(), infini_delta_.get()};
  }
  std::vector<const MemoryKind*> Kinds() const {
    std::vector<const MemoryKind*> kinds = DefinedKinds();
    kinds.insert(kinds.end(), {infini_unit_.get(), edgeinfinite_.get(), ahn_.get(), self_recall_.get()});
    return kinds;
  }
  // Small enough to fold often; salient slots only where the kind has scores.
  static SessionShape SmallShape(const MemoryKind& kind) {
    return {.sinks = 3, .window = 9, .segment = 4, .salient = kind.HasRetention() ? 5 : 0};
  }
  std::vector<int32_t> Tokens(uint64_t seed, int count) const {
    return RandomTokens(seed, count, config_.vocab_size);
  }
  reference::GatedRule RuleOf(const MemoryKind& kind, const SessionShape& shape) const {
    reference::GatedRule rule{.shape = shape,
                              .retention_weight = reference::ToDouble(retention_.weight),
                              .retention_bias = reference::ToDouble(retention_.bias),
                              .matrix = {.write_weight = reference::ToDouble(matrix_.write_weight),
                                         .write_bias = reference::ToDouble(matrix_.write_bias),
                                         .decay = reference::ToDouble(matrix_.decay),
                                         .key_scale = reference::ToDouble(matrix_.key_scale),
                                         .key_shift = reference::ToDouble(matrix_.key_shift),
                                         .query_scale = reference::ToDouble(matrix_.query_scale),
                                         .query_shift = reference::ToDouble(matrix_.query_shift),
                                         .gain = reference::ToDouble(matrix_.gain)},
                              .beta = reference::ToDouble(betas_)};
    rule.rule = &kind == memgate_.get()          ? reference::MemoryRule::kSalient
                : &kind == memgate_matrix_.get() ? reference::MemoryRule::kMatrix
                : &kind == infini_.get()         ? reference::MemoryRule::kInfini
                : &kind == infini_delta_.get()   ? reference::MemoryRule::kInfiniDelta
                                                 : reference::MemoryRule::kForget;
    return rule;
  }

  const TempFolder folder_;
  RunningModel model_;
  const ModelConfig& config_;
  std::vector<float> betas_;
  RetentionWeights retention_;
  MatrixWeights matrix_;
  std::unique_ptr<MemoryKind> window_, memgate_, memgate_matrix_, infini_, infini_delta_, infini_unit_;
  std::unique_ptr<MemoryKind> edgeinfinite_, ahn_, self_recall_;
};

// What must come out, for each architecture that calculates in a way of its own.
class TransformerDefinition : public TransformerTest, public testing::WithParamInterface<TinyArchitecture> {
 protected:
  TransformerDefinition() : TransformerTest(GetParam()) {}
};

INSTANTIATE_TEST_SUITE_P(Architectures, TransformerDefinition,
                         testing::Values(TinyArchitecture::kLlama, TinyArchitecture::kPhi3,
                                         TinyArchitecture::kSmolLm3, TinyArchitecture::kGemma2,
                                         TinyArchitecture::kGemma3),
                         [](const auto& info) { return TinyArchitectureName(info.param); });

struct Variant {
  TinyArchitecture architecture;
  WeightFormat weights;
  KvFormat kv;
};

// What no way of feeding may change, for each format of weights and of keys and values, and for each
// architecture whose layers differ from one another.
class TransformerEqualities : public TransformerTest, public testing::WithParamInterface<Variant> {
 protected:
  TransformerEqualities()
      : TransformerTest(GetParam().architecture, Runs() ? GetParam().weights : WeightFormat::kF32) {}
  void SetUp() override {
    if (!Runs()) GTEST_SKIP() << "oneDNN has no bf16 kernel for this CPU that keeps rows apart";
  }
  static bool Runs() {
    return GetParam().weights != WeightFormat::kBf16 ||
           DnnlMatrix::Bytes(32, 32, false, WeightFormat::kBf16).has_value();
  }
  std::unique_ptr<SessionState> NewSession(const MemoryKind& kind, const SessionShape& shape) const {
    return model_.NewSession(kind, shape, GetParam().kv);
  }
};

INSTANTIATE_TEST_SUITE_P(
    Variants, TransformerEqualities,
    testing::Values(Variant{TinyArchitecture::kLlama, WeightFormat::kF32, KvFormat::kF32},
                    Variant{TinyArchitecture::kLlama, WeightFormat::kF32, KvFormat::kBf16},
                    Variant{TinyArchitecture::kLlama, WeightFormat::kF32, KvFormat::kInt8},
                    Variant{TinyArchitecture::kLlama, WeightFormat::kBf16, KvFormat::kF32},
                    Variant{TinyArchitecture::kLlama, WeightFormat::kInt8, KvFormat::kF32},
                    Variant{TinyArchitecture::kLlama, WeightFormat::kInt4, KvFormat::kInt8},
                    Variant{TinyArchitecture::kSmolLm3, WeightFormat::kF32, KvFormat::kF32},
                    Variant{TinyArchitecture::kPhi3, WeightFormat::kInt8, KvFormat::kF32},
                    Variant{TinyArchitecture::kGemma2, WeightFormat::kF32, KvFormat::kF32},
                    Variant{TinyArchitecture::kGemma2, WeightFormat::kInt4, KvFormat::kInt8},
                    Variant{TinyArchitecture::kGemma3, WeightFormat::kF32, KvFormat::kBf16},
                    Variant{TinyArchitecture::kGemma3, WeightFormat::kInt8, KvFormat::kF32}),
    [](const auto& info) {
      return Concat(TinyArchitectureName(info.param.architecture), "_weights_",
                    WeightFormatName(info.param.weights), "_kv_", KvFormatName(info.param.kv));
    });

std::string Live(const SessionState& session) {
  std::string live;
  session.AppendLive(live);
  return live;
}

TEST_P(TransformerDefinition, ExactPathEqualsPlainCausalAttention) {
  const std::vector<int32_t> tokens = Tokens(1, 60);
  const reference::Rows expected = reference::Transformer(config_, model_.tensors()).Logits(tokens);
  const std::vector<float> logits = model_.Feed(*model_.NewExactSession(60), tokens);
  for (size_t t = 0; t < tokens.size(); ++t) {
    const auto row = absl::MakeConstSpan(logits).subspan(t * config_.vocab_size, config_.vocab_size);
    EXPECT_LT(reference::RelativeError(row, expected[t]), 1e-5) << t;
  }
}

// Rounding keys and values moves the logits a little, and not more.
TEST_F(TransformerTest, ExactPathWithRoundedKeysAndValuesStaysNear) {
  const std::vector<int32_t> tokens = Tokens(1, 60);
  const reference::Rows expected = reference::Transformer(config_, model_.tensors()).Logits(tokens);
  for (const auto& [format, tolerance] :
       {std::pair(KvFormat::kBf16, 0.02), std::pair(KvFormat::kInt8, 0.03)}) {
    const std::vector<float> logits = model_.Feed(*model_.NewExactSession(60, format), tokens);
    for (size_t t = 0; t < tokens.size(); ++t) {
      const auto row = absl::MakeConstSpan(logits).subspan(t * config_.vocab_size, config_.vocab_size);
      EXPECT_LT(reference::RelativeError(row, expected[t]), tolerance) << KvFormatName(format) << " " << t;
    }
  }
}

// Every kind, over many geometries and foldings, is what its definition says when each query looks at the
// whole history (tests/reference/gated_rule.h).
TEST_P(TransformerDefinition, FoldedSessionsEqualTheirDefinition) {
  const std::vector<int32_t> tokens = Tokens(2, 70);
  const reference::Transformer oracle(config_, model_.tensors());
  const SessionShape shapes[] = {{3, 9, 4, 5},  {0, 1, 1, 3},   {0, 5, 3, 1},   {1, 1, 7, 2}, {4, 16, 1, 9},
                                 {2, 6, 8, 64}, {5, 13, 11, 2}, {1, 40, 20, 7}, {2, 7, 3, 0}};
  for (const MemoryKind* kind : DefinedKinds()) {
    for (SessionShape shape : shapes) {
      if (!kind->HasRetention()) shape.salient = 0;
      const auto session = model_.NewSession(*kind, shape);
      const std::vector<float> logits = model_.Feed(*session, tokens);
      const reference::Rows expected = oracle.Logits(tokens, RuleOf(*kind, shape));
      ASSERT_EQ(session->folded(), reference::FoldedTokens(shape, 69));
      for (size_t t = 0; t < tokens.size(); ++t) {
        const auto row = absl::MakeConstSpan(logits).subspan(t * config_.vocab_size, config_.vocab_size);
        ASSERT_LT(reference::RelativeError(row, expected[t]), 2e-5)
            << kind->name() << " S " << shape.sinks << " W " << shape.window << " P " << shape.segment
            << " E " << shape.salient << " at " << t;
      }
    }
  }
}

TEST_P(TransformerEqualities, GatedPathWithEmptyMemoryIsTheExactPathBitForBit) {
  const std::vector<int32_t> tokens = Tokens(3, 40);
  const std::vector<float> exact = model_.Feed(*model_.NewExactSession(40, GetParam().kv), tokens);
  for (const MemoryKind* kind : Kinds()) {
    const int salient = kind->HasRetention() ? 16 : 0;
    const auto session = NewSession(*kind, {.sinks = 4, .window = 26, .segment = 10, .salient = salient});
    ASSERT_EQ(session->shape().exact_capacity(), 40);
    EXPECT_EQ(model_.Feed(*session, tokens), exact) << kind->name();
    EXPECT_EQ(session->folded(), 0);
  }
}

TEST_P(TransformerEqualities, PrefillInOneChunkIsPrefillInManyBitForBit) {
  const std::vector<int32_t> tokens = Tokens(4, 75);
  for (const MemoryKind* kind : Kinds()) {
    const auto whole = NewSession(*kind, SmallShape(*kind));
    const std::vector<float> logits = model_.Feed(*whole, tokens);
    for (const int chunk : {1, 2, 3, 5}) {
      const auto session = NewSession(*kind, SmallShape(*kind));
      EXPECT_EQ(model_.Feed(*session, tokens, chunk), logits) << kind->name() << ", chunks of " << chunk;
      EXPECT_EQ(Live(*session), Live(*whole)) << kind->name() << ", chunks of " << chunk;
    }
  }
}

TEST_P(TransformerEqualities, NumberOfThreadsChangesNoBit) {
  const std::vector<int32_t> tokens = Tokens(4, 35);
  for (const MemoryKind* kind : Kinds()) {
    const auto one = NewSession(*kind, SmallShape(*kind));
    const std::vector<float> logits = model_.Feed(*one, tokens);
    SetComputeThreads(3);
    const auto three = NewSession(*kind, SmallShape(*kind));
    EXPECT_EQ(model_.Feed(*three, tokens), logits) << kind->name();
    EXPECT_EQ(Live(*three), Live(*one)) << kind->name();
    SetComputeThreads(1);
  }
}

// The memory speaks from the first token that it absorbed, and not before: until the slots are full, a matrix
// beside them changes no bit.
TEST_P(TransformerEqualities, MatrixIsSilentUntilTheSlotsAreFull) {
  const std::vector<int32_t> tokens = Tokens(12, 60);
  const SessionShape shape{.sinks = 2, .window = 8, .segment = 4, .salient = 20};
  const auto with = NewSession(*memgate_matrix_, shape);
  const auto without = NewSession(*memgate_, shape);
  const std::vector<float> gated = model_.Feed(*with, tokens), slots = model_.Feed(*without, tokens);
  ASSERT_EQ(with->folded(), 48);
  size_t first = 0;  // the first token that sees more than 20 folded ones
  while (shape.FoldedAt(static_cast<int64_t>(first)) <= shape.salient) ++first;
  const size_t same = first * config_.vocab_size;
  EXPECT_TRUE(std::equal(gated.begin(), gated.begin() + same, slots.begin()));
  EXPECT_FALSE(
      std::equal(gated.begin() + same, gated.begin() + same + config_.vocab_size, slots.begin() + same));
}

TEST_P(TransformerEqualities, MatrixWithoutGainIsTheSlotsAloneBitForBit) {
  MatrixWeights silent = matrix_;
  std::fill(silent.gain.begin(), silent.gain.end(), 0.0f);
  const auto kind = MakeMemgateKind(config_, retention_, silent);
  const std::vector<int32_t> tokens = Tokens(13, 60);
  EXPECT_EQ(model_.Feed(*NewSession(*kind, SmallShape(*kind)), tokens),
            model_.Feed(*NewSession(*memgate_, SmallShape(*memgate_)), tokens));
}

// Sessions of different kinds, shapes, positions and chunk sizes share steps.
TEST_P(TransformerEqualities, BatchOfSessionsIsEachAloneBitForBit) {
  struct Member {
    std::unique_ptr<SessionState> alone, batched;
    std::vector<int32_t> tokens;
    int chunk;
    size_t fed = 0;
    std::vector<float> logits;
  };
  std::vector<Member> members;
  for (const MemoryKind* kind : Kinds()) {
    for (const int chunk : {1, 4, 6}) {
      SessionShape shape = SmallShape(*kind);
      shape.window += chunk;
      members.push_back({NewSession(*kind, shape), NewSession(*kind, shape),
                         Tokens(members.size(), 17 + 9 * chunk), chunk});
    }
  }
  for (bool busy = true; busy;) {
    std::vector<SequenceChunk> batch;
    std::vector<Member*> owners;
    for (Member& m : members) {
      const int64_t count = std::min(
          {static_cast<int64_t>(m.tokens.size() - m.fed), int64_t{m.chunk}, m.batched->TokensUntilFold()});
      if (count == 0) continue;
      batch.push_back(
          {m.batched.get(), absl::MakeConstSpan(m.tokens).subspan(m.fed, count), LogitRows::kAll});
      owners.push_back(&m);
    }
    busy = !batch.empty();
    if (!busy) break;
    const std::vector<float> logits = model_.Step(batch);
    auto from = logits.begin();
    for (size_t i = 0; i < batch.size(); ++i) {
      const auto to = from + static_cast<int64_t>(batch[i].tokens.size()) * config_.vocab_size;
      owners[i]->logits.insert(owners[i]->logits.end(), from, to);
      owners[i]->fed += batch[i].tokens.size();
      from = to;
    }
    ASSERT_EQ(from, logits.end());
  }
  for (Member& m : members) {
    EXPECT_EQ(model_.Feed(*m.alone, m.tokens), m.logits)
        << m.alone->kind().name() << ", chunks of " << m.chunk;
    EXPECT_EQ(Live(*m.alone), Live(*m.batched));
  }
}

TEST_P(TransformerEqualities, RestoredSessionContinuesAsIfNeverInterrupted) {
  const std::vector<int32_t> tokens = Tokens(8, 60);
  for (const MemoryKind* kind : Kinds()) {
    const SessionShape shape = SmallShape(*kind);
    for (const size_t cut : {1u, 3u, 12u, 16u, 17u, 20u, 33u, 59u}) {  // before, at and after foldings
      const auto session = NewSession(*kind, shape);
      model_.Feed(*session, absl::MakeConstSpan(tokens).subspan(0, cut));
      const std::string snapshot = EncodeSnapshot({.model_fingerprint = "m",
                                                   .memory_kind = std::string(kind->name()),
                                                   .kv_format = GetParam().kv,
                                                   .shape = shape,
                                                   .length = session->length()},
                                                  *session);
      const auto parsed = ParseSnapshot(snapshot);
      ASSERT_TRUE(parsed.ok()) << parsed.status();
      const auto restored = NewSession(*kind, parsed->header.shape);
      const absl::Status status = restored->RestoreLive(parsed->header.length, parsed->live);
      ASSERT_TRUE(status.ok()) << status;
      const auto rest = absl::MakeConstSpan(tokens).subspan(cut);
      EXPECT_EQ(model_.Feed(*restored, rest), model_.Feed(*session, rest)) << kind->name() << " " << cut;
      EXPECT_EQ(Live(*restored), Live(*session)) << kind->name() << " " << cut;
    }
  }
}

TEST_P(TransformerEqualities, CopiedSessionGoesItsOwnWay) {
  for (const MemoryKind* kind : Kinds()) {
    const auto session = NewSession(*kind, SmallShape(*kind));
    model_.Feed(*session, Tokens(1, 30));
    const auto copy = NewSession(*kind, SmallShape(*kind));
    model_.Feed(*copy, Tokens(2, 50));
    copy->CopyFrom(*session);
    const std::string before = Live(*session);
    const std::vector<float> logits = model_.Feed(*copy, Tokens(3, 20));
    EXPECT_EQ(Live(*session), before);
    EXPECT_EQ(model_.Feed(*session, Tokens(3, 20)), logits) << kind->name();
  }
}

TEST_P(TransformerEqualities, ClearedSessionIsANewOne) {
  for (const MemoryKind* kind : Kinds()) {
    const auto used = NewSession(*kind, SmallShape(*kind));
    const std::vector<float> first = model_.Feed(*used, Tokens(1, 45));
    used->Clear();
    EXPECT_EQ(used->length(), 0);
    EXPECT_EQ(used->folded(), 0);
    EXPECT_EQ(model_.Feed(*used, Tokens(1, 45)), first) << kind->name();
  }
}

TEST_F(TransformerTest, ReturnsExactlyTheLogitsAskedFor) {
  const std::vector<int32_t> tokens = Tokens(9, 10);
  const auto run = [&](LogitRows first, LogitRows second) {
    const auto a = model_.NewExactSession(20), b = model_.NewExactSession(20);
    return model_.Step({{a.get(), absl::MakeConstSpan(tokens).subspan(0, 4), first},
                        {b.get(), absl::MakeConstSpan(tokens).subspan(4, 6), second}});
  };
  const size_t v = config_.vocab_size;
  const std::vector<float> all = run(LogitRows::kAll, LogitRows::kAll);
  ASSERT_EQ(all.size(), 10 * v);
  const auto rows = [&](size_t begin, size_t end) {
    return std::vector<float>(all.begin() + begin * v, all.begin() + end * v);
  };
  EXPECT_EQ(run(LogitRows::kNone, LogitRows::kNone), std::vector<float>());
  EXPECT_EQ(run(LogitRows::kLast, LogitRows::kNone), rows(3, 4));
  EXPECT_EQ(run(LogitRows::kNone, LogitRows::kLast), rows(9, 10));
  EXPECT_EQ(run(LogitRows::kAll, LogitRows::kNone), rows(0, 4));
  EXPECT_EQ(run(LogitRows::kNone, LogitRows::kAll), rows(4, 10));
}

}  // namespace
}  // namespace memgate
