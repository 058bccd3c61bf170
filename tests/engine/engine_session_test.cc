#include <fstream>
#include <limits>
#include <memory>
#include <memory_resource>
#include <string>
#include <vector>

#include "engine/base/strings.h"
#include "engine/scheduling/session.h"
#include "engine/session/session_state.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/engine/engine_fixture.h"

namespace memgate {
namespace {

using EngineSessionTest = EngineFixture;

struct Variant {
  TinyArchitecture architecture;
  KvFormat kv;
};

// What holds for each format of keys and values, and for layers with a window of their own.
class EngineKvTest : public EngineFixture, public testing::WithParamInterface<Variant> {
 protected:
  std::unique_ptr<Engine> Load(TinyMemory memory = TinyMemory::kMemgate,
                               std::pmr::memory_resource* session_memory = nullptr) {
    EngineOptions options{.kv = GetParam().kv};
    if (session_memory != nullptr) options.session_memory = session_memory;
    return LoadTiny({.architecture = GetParam().architecture, .eos_token_id = -1, .memory = memory}, options);
  }
};

INSTANTIATE_TEST_SUITE_P(Variants, EngineKvTest,
                         testing::Values(Variant{TinyArchitecture::kLlama, KvFormat::kF32},
                                         Variant{TinyArchitecture::kLlama, KvFormat::kBf16},
                                         Variant{TinyArchitecture::kLlama, KvFormat::kInt8},
                                         Variant{TinyArchitecture::kGemma2, KvFormat::kInt8},
                                         Variant{TinyArchitecture::kGemma3, KvFormat::kF32}),
                         [](const auto& info) {
                           return Concat(TinyArchitectureName(info.param.architecture), "_",
                                         KvFormatName(info.param.kv));
                         });

TEST_P(EngineKvTest, MovedFromExactToGatedEqualsGatedFromTheStart) {
  auto engine = Load();
  auto moved = MakeSession(*engine);
  auto gated = MakeSession(*engine);

  const auto moved_first = Generate(*engine, moved, RandomTokens(10, 1), 5);
  const auto gated_first = Generate(*engine, gated, RandomTokens(10, 1), 5, PathPreference::kGated);
  EXPECT_EQ(moved_first->start.route, (RouteDecision{Path::kExact, RouteReason::kFits}));
  EXPECT_EQ(gated_first->start.route, (RouteDecision{Path::kGated, RouteReason::kClientPreference}));
  EXPECT_EQ(moved_first->tokens, gated_first->tokens);

  const auto moved_second = Generate(*engine, moved, RandomTokens(60, 2), 20);
  const auto gated_second = Generate(*engine, gated, RandomTokens(60, 2), 20, PathPreference::kGated);
  EXPECT_EQ(moved_second->start.route, (RouteDecision{Path::kGated, RouteReason::kExceedsExactLimit}));
  EXPECT_GT(moved_second->end.folded_tokens, 0);
  EXPECT_EQ(moved_second->tokens, gated_second->tokens);
  EXPECT_EQ(Snapshot(*engine, moved), Snapshot(*engine, gated));
}

TEST_P(EngineKvTest, ExactPathEqualsAnEngineWithoutMemoryModule) {
  auto with_module = Load();
  auto without = Load(TinyMemory::kNone);
  EXPECT_EQ(with_module->model().default_memory_kind, "memgate");
  EXPECT_EQ(without->model().default_memory_kind, "window");
  const auto a = Generate(*with_module, MakeSession(*with_module), RandomTokens(12, 3), 14);
  const auto b = Generate(*without, nullptr, RandomTokens(12, 3), 14);
  EXPECT_EQ(a->start.route.path, Path::kExact);
  EXPECT_EQ(b->start.route.path, Path::kExact);
  EXPECT_EQ(a->tokens, b->tokens);
}

TEST_P(EngineKvTest, IngestInPartsEqualsIngestAtOnce) {
  auto engine = Load();
  const std::vector<TokenId> text = RandomTokens(100, 4);
  auto whole = MakeSession(*engine);
  ASSERT_TRUE(Ingest(*engine, whole, text)->end.status.ok());
  auto parts = MakeSession(*engine);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.size(), begin + 1 + begin % 7);
    ASSERT_TRUE(Ingest(*engine, parts, {text.begin() + begin, text.begin() + end})->end.status.ok());
    begin = end;
  }
  const auto from_whole = Generate(*engine, whole, {}, 12);
  const auto from_parts = Generate(*engine, parts, {}, 12);
  EXPECT_EQ(from_whole->tokens.size(), 12u);
  EXPECT_EQ(from_whole->tokens, from_parts->tokens);
}

TEST_P(EngineKvTest, IngestThenGenerateEqualsOnePrompt) {
  auto engine = Load();
  const std::vector<TokenId> text = RandomTokens(70, 5);
  auto ingested = MakeSession(*engine);
  Ingest(*engine, ingested, {text.begin(), text.begin() + 50});
  const auto split = Generate(*engine, ingested, {text.begin() + 50, text.end()}, 9);
  const auto at_once = Generate(*engine, MakeSession(*engine), text, 9);
  EXPECT_EQ(split->tokens, at_once->tokens);
}

TEST_P(EngineKvTest, TurnsEqualOneLongConversation) {
  auto engine = Load();
  auto session = MakeSession(*engine);
  const auto first = Generate(*engine, session, RandomTokens(20, 6), 10);
  const auto second = Generate(*engine, session, RandomTokens(15, 7), 10);

  std::vector<TokenId> conversation = RandomTokens(20, 6);
  conversation.insert(conversation.end(), first->tokens.begin(), first->tokens.end());
  const std::vector<TokenId> prompt = RandomTokens(15, 7);
  conversation.insert(conversation.end(), prompt.begin(), prompt.end());
  EXPECT_EQ(Generate(*engine, MakeSession(*engine), conversation, 10)->tokens, second->tokens);
}

TEST_P(EngineKvTest, RestoredSnapshotContinuesAsIfNeverInterrupted) {
  auto engine = Load();
  auto session = MakeSession(*engine);
  Generate(*engine, session, RandomTokens(64, 8), 7);
  auto restored = engine->Import(Snapshot(*engine, session));
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(engine->Describe(**restored).accounting.total, 71);
  EXPECT_EQ(engine->Describe(**restored).turns, 1);
  const auto original = Generate(*engine, session, RandomTokens(9, 9), 12);
  const auto copy = Generate(*engine, *restored, RandomTokens(9, 9), 12);
  EXPECT_EQ(original->tokens, copy->tokens);
  EXPECT_EQ(Snapshot(*engine, session), Snapshot(*engine, *restored));
}

TEST_P(EngineKvTest, ForkIsIndependentAndResetForgets) {
  auto engine = Load();
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(40, 10));
  auto fork = engine->Fork(*Lease(*engine, session));
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_EQ(Snapshot(*engine, session), Snapshot(*engine, *fork));
  Ingest(*engine, *fork, RandomTokens(5, 11));
  EXPECT_EQ(engine->Describe(*session).accounting.total, 40);
  EXPECT_EQ(engine->Describe(**fork).accounting.total, 45);

  engine->Reset(*Lease(*engine, session));
  EXPECT_EQ(engine->Describe(*session).accounting.total, 0);
  EXPECT_EQ(Snapshot(*engine, session), Snapshot(*engine, MakeSession(*engine)));
}

TEST_F(EngineSessionTest, ImportRefusesOtherModelsAndDamage) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(40, 12));
  std::string snapshot = Snapshot(*engine, session);

  auto other = LoadTiny({.seed = 99, .eos_token_id = -1, .memory = TinyMemory::kMemgate});
  const auto mismatch = other->Import(snapshot);
  EXPECT_EQ(mismatch.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(mismatch.status()), "SNAPSHOT_MISMATCH");

  snapshot[snapshot.size() / 2] ^= 1;
  const auto damaged = engine->Import(snapshot);
  EXPECT_EQ(damaged.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(damaged.status()), "SNAPSHOT_INVALID");
}

TEST_F(EngineSessionTest, ImportRefusesTheSameWeightsUnderAnotherConfiguration) {
  const std::string folder = WriteTinyModel(folder_.File("model"), {.eos_token_id = -1});
  const auto load = [&] { return *Engine::Load({.model_path = folder, .threads = 2}); };
  const auto engine = load();
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(40, 12));
  const std::string snapshot = Snapshot(*engine, session);
  EXPECT_TRUE(load()->Import(snapshot).ok());

  nlohmann::json config = nlohmann::json::parse(std::ifstream(folder + "/config.json"));
  config["rope_theta"] = 500000.0;
  std::ofstream(folder + "/config.json") << config;
  const auto changed = load();
  EXPECT_EQ(changed->model().fingerprint, engine->model().fingerprint);
  const absl::Status status = changed->Import(snapshot).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "SNAPSHOT_MISMATCH");
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("model configuration"));
}

TEST_F(EngineSessionTest, FullCacheOfALayerWithAWindowEndsAtIt) {
  auto engine = LoadTiny({.architecture = TinyArchitecture::kGemma2, .layers = 4, .eos_token_id = -1});
  const ModelInfo& model = engine->model();
  const int64_t window = model.config.layer(0).window, in_layer = model.full_kv_bytes_per_token / 4;
  ASSERT_EQ(window, 9);
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(40, 16));
  EXPECT_EQ(engine->Describe(*session).full_kv_bytes, in_layer * (2 * 40 + 2 * window));
}

TEST_F(EngineSessionTest, ImportRefusesAnotherKvFormatByName) {
  const TinyModelOptions tiny{.eos_token_id = -1, .memory = TinyMemory::kMemgate};
  auto floats = LoadTiny(tiny);
  auto bytes = LoadTiny(tiny, {.kv = KvFormat::kInt8});
  auto session = MakeSession(*floats);
  Ingest(*floats, session, RandomTokens(40, 16));
  const absl::Status status = bytes->Import(Snapshot(*floats, session)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "SNAPSHOT_MISMATCH");
  EXPECT_EQ(status.message(), "the snapshot's KV format is 'f32', this server's is 'int8'");
}

TEST_F(EngineSessionTest, KvFormatIsReportedWithTheBytesItTakes) {
  const TinyModelOptions tiny{.eos_token_id = -1, .memory = TinyMemory::kMemgate};
  int64_t before = std::numeric_limits<int64_t>::max();
  for (const KvFormat format : kKvFormats) {
    auto engine = LoadTiny(tiny, {.kv = format});
    const ModelInfo& model = engine->model();
    EXPECT_EQ(model.kv_format, format);
    EXPECT_EQ(model.full_kv_bytes_per_token, 2 * model.config.num_layers * model.config.num_kv_heads *
                                                 KvRowBytes(format, model.config.head_dim));
    auto session = MakeSession(*engine);
    Ingest(*engine, session, RandomTokens(40, 16));
    const SessionInfo info = engine->Describe(*session);
    EXPECT_EQ(info.kv_format, format);
    EXPECT_EQ(info.full_kv_bytes, 40 * model.full_kv_bytes_per_token);
    EXPECT_LT(info.bytes, before) << KvFormatName(format);
    before = info.bytes;
  }
}

// Counts what is really allocated for sessions.
class CountingResource : public std::pmr::memory_resource {
 public:
  int64_t bytes = 0;

 private:
  void* do_allocate(size_t size, size_t alignment) override {
    bytes += static_cast<int64_t>(size);
    return std::pmr::new_delete_resource()->allocate(size, alignment);
  }
  void do_deallocate(void* p, size_t size, size_t alignment) override {
    bytes -= static_cast<int64_t>(size);
    std::pmr::new_delete_resource()->deallocate(p, size, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

TEST_P(EngineKvTest, BytesAreKnownBeforehandTrueToTheByteAndReturned) {
  CountingResource resource;
  auto engine = Load(TinyMemory::kMemgate, &resource);
  const int64_t before = engine->Stats().reserved_bytes;
  for (const char* kind : {"memgate", "window", "infini", "infini-delta"}) {
    const int64_t planned = engine->PlanSession({.memory_kind = kind})->bytes;
    auto session = MakeSession(*engine, {.memory_kind = kind});
    EXPECT_EQ(engine->Describe(*session).bytes, planned) << kind;
    EXPECT_EQ(engine->Stats().reserved_bytes - before, planned) << kind;
    EXPECT_EQ(resource.bytes + static_cast<int64_t>(sizeof(SessionState)), planned) << kind;
    Ingest(*engine, session, RandomTokens(300, 13));
    EXPECT_EQ(resource.bytes + static_cast<int64_t>(sizeof(SessionState)), planned) << kind;
    session.reset();
    EXPECT_EQ(engine->Stats().reserved_bytes, before) << kind;
    EXPECT_EQ(resource.bytes, 0) << kind;
  }
}

TEST_F(EngineSessionTest, BudgetRefusesTheSessionThatDoesNotFit) {
  auto probe = LoadTiny();
  const int64_t base = probe->Stats().reserved_bytes;
  const int64_t session_bytes = probe->PlanSession({})->bytes;
  auto engine = LoadTiny({.eos_token_id = -1, .memory = TinyMemory::kMemgate},
                         {.memory_budget_bytes = base + 2 * session_bytes + session_bytes / 2});
  auto first = MakeSession(*engine);
  auto second = MakeSession(*engine);
  const auto third = engine->CreateSession({});
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(third.status()), "MEMORY_BUDGET");
  second.reset();
  EXPECT_TRUE(engine->CreateSession({}).ok());
}

TEST_F(EngineSessionTest, MaxBytesChoosesTheLargestWindowThatFits) {
  auto engine = LoadTiny();
  const int64_t limit = engine->PlanSession({.memory_kind = "memgate"})->bytes;
  const auto plan = engine->PlanSession({.memory_kind = "window", .max_bytes = limit});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_LE(plan->bytes, limit);
  const auto larger = engine->PlanSession({.memory_kind = "window", .window = plan->shape.window + 1});
  EXPECT_GT(larger->bytes, limit);
  EXPECT_EQ(engine->PlanSession({.max_bytes = 100}).status().code(), absl::StatusCode::kInvalidArgument);
}

// Bytes fall where a longer session makes a layer local, and wherever its window is covered by whole
// segments.
TEST_F(EngineSessionTest, MaxBytesChoosesTheLargestWindowAlsoWhereLayersHaveTheirOwn) {
  auto engine = LoadTiny({.architecture = TinyArchitecture::kGemma3, .sliding_window = 300});
  for (const char* kind : {"window", "memgate-untrained"}) {
    for (const int64_t limit : {60'000, 100'000, 123'457, 200'000}) {
      SessionOptions options{.memory_kind = kind, .segment = 50, .max_bytes = limit};
      if (options.memory_kind != "window") options.salient = 64;
      const auto plan = engine->PlanSession(options);
      ASSERT_TRUE(plan.ok()) << plan.status();
      EXPECT_LE(plan->bytes, limit);
      options.max_bytes = 0;
      for (int window = plan->shape.window + 1; window < plan->shape.window + 2000; ++window) {
        options.window = window;
        EXPECT_GT(engine->PlanSession(options)->bytes, limit) << kind << " " << limit << " " << window;
      }
    }
  }
}

TEST_F(EngineSessionTest, ImpossibleShapesAndKindsAreRefusedWithTheField) {
  auto engine = LoadTiny();
  const auto message = [&](const SessionOptions& options) {
    const auto status = engine->CreateSession(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message({.memory_kind = "elephant"}), testing::HasSubstr("memory_kind"));
  EXPECT_THAT(message({.sinks = -1}), testing::HasSubstr("sink_tokens"));
  EXPECT_THAT(message({.window = 0}), testing::HasSubstr("window_tokens"));
  EXPECT_THAT(message({.segment = 0}), testing::HasSubstr("segment_tokens"));
  EXPECT_THAT(message({.memory_kind = "window", .salient = 3}), testing::HasSubstr("salient_tokens"));
}

TEST_F(EngineSessionTest, AccountingAddsUpForEveryKind) {
  auto engine = LoadTiny();
  for (const char* kind : {"memgate", "window", "infini", "infini-delta"}) {
    auto session = MakeSession(*engine, {.memory_kind = kind});
    Generate(*engine, session, RandomTokens(90, 14), 10);
    const TokenAccounting held = engine->Describe(*session).accounting;
    EXPECT_EQ(held.total, 100) << kind;
    EXPECT_EQ(held.exact + held.salient + held.compressed + held.forgotten, held.total) << kind;
    EXPECT_EQ(held.compressed > 0, std::string(kind).starts_with("infini")) << kind;
  }
}

TEST_F(EngineSessionTest, SessionsMayOutliveTheEngine) {
  auto engine = LoadTiny();
  auto session = MakeSession(*engine);
  Ingest(*engine, session, RandomTokens(30, 15));
  engine.reset();
  EXPECT_EQ(session->fill().accounting.total, 30);
}

TEST_F(EngineSessionTest, ModelsWithASlidingWindowBoundWindowsChosenByBytes) {
  auto engine =
      LoadTiny({.architecture = TinyArchitecture::kMistral, .sliding_window = 64, .eos_token_id = -1});
  const auto plan = engine->PlanSession({.max_bytes = 1 << 24});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->shape.exact_capacity(), 64);
}

}  // namespace
}  // namespace memgate
