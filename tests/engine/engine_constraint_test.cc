#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "engine/structured/output_format.h"
#include "engine/structured/token_constraint.h"
#include "engine/structured/token_trie.h"
#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"

namespace memgate {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// A random model says anything; what it says in a form is due to the form.
class EngineConstraintTest : public EngineFixture {
 protected:
  static constexpr const char* kSchema =
      R"({"type": "object", "properties": {"a": {"type": "integer", "minimum": 0},
      "b": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}, "c": {"type": "string", "maxLength": 4}},
      "required": ["a", "b", "c"], "additionalProperties": false})";

  static std::shared_ptr<TokenConstraint> Constrain(Engine& engine, const OutputFormat& format) {
    auto constraint = engine.Constrain(format);
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    return constraint.ok() ? *constraint : nullptr;
  }
  static TurnRequest Request(Engine& engine, const std::shared_ptr<Session>& session,
                             const OutputFormat& format, int seed) {
    TurnRequest request;
    if (session != nullptr) request.lease = Lease(engine, session);
    request.tokens = RandomTokens(20, seed);
    request.max_new_tokens = 400;
    request.sampling.temperature = 1;
    request.sampling.seed = static_cast<uint64_t>(seed);
    request.constraint = Constrain(engine, format);
    return request;
  }
};

void ExpectFits(const TurnRecorder& turn) {
  ASSERT_TRUE(turn.end.status.ok()) << turn.end.status;
  ASSERT_EQ(turn.end.reason, FinishReason::kStop) << turn.text;
  const json document = json::parse(turn.text, nullptr, false);
  ASSERT_TRUE(document.is_object()) << turn.text;
  EXPECT_EQ(document.size(), 3u);
  EXPECT_GE(document["a"], 0);
  EXPECT_LE(document["b"].size(), 2u);
  EXPECT_TRUE(document["c"].is_string());
}

TEST_F(EngineConstraintTest, AnswersHaveTheFormOnEveryPath) {
  auto engine = LoadTiny({.memory = TinyMemory::kMemgate});
  const OutputFormat format = {OutputFormat::Kind::kJsonSchema, kSchema};
  auto session = MakeSession(*engine);
  for (int seed = 1; seed <= 8; ++seed) {
    TurnRequest exact = Request(*engine, nullptr, format, seed);
    exact.preference = PathPreference::kExact;
    const auto alone = Run(*engine, std::move(exact));
    EXPECT_EQ(alone->start.route.path, Path::kExact);
    ExpectFits(*alone);
    // The session folds from its first turn on.
    const auto turn = Run(*engine, Request(*engine, session, format, seed));
    EXPECT_EQ(turn->start.route.path, Path::kGated);
    ExpectFits(*turn);
  }
}

TEST_F(EngineConstraintTest, SessionsAtOnceSayWhatEachSaysAlone) {
  auto engine = LoadTiny({.memory = TinyMemory::kMemgate});
  const OutputFormat formats[] = {{OutputFormat::Kind::kJsonSchema, kSchema},
                                  {OutputFormat::Kind::kGrammar, "root ::= ([a-f]{4} \" \"){2,5} \".\""},
                                  {OutputFormat::Kind::kJsonSchema, R"({"enum": ["yes", "no", "maybe"]})"}};
  constexpr int kTurns = 9;
  std::vector<std::string> alone;
  for (int i = 0; i < kTurns; ++i) {
    alone.push_back(Run(*engine, Request(*engine, MakeSession(*engine), formats[i % 3], i))->text);
  }
  std::vector<std::shared_ptr<TurnRecorder>> together;
  for (int i = 0; i < kTurns; ++i) {
    together.push_back(std::make_shared<TurnRecorder>());
    ASSERT_TRUE(
        engine->Submit(Request(*engine, MakeSession(*engine), formats[i % 3], i), together.back()).ok());
  }
  for (int i = 0; i < kTurns; ++i) {
    EXPECT_TRUE(together[i]->Wait().status.ok());
    EXPECT_EQ(together[i]->text, alone[i]);
  }
}

TEST_F(EngineConstraintTest, CutAnswersAreTheBeginningOfATextOfTheForm) {
  auto engine = LoadTiny();
  TurnRequest request =
      Request(*engine, nullptr, {OutputFormat::Kind::kGrammar, "root ::= \"ab\"{20} \"c\""}, 1);
  request.max_new_tokens = 7;
  auto turn = Run(*engine, std::move(request));
  EXPECT_EQ(turn->end.reason, FinishReason::kLength);
  EXPECT_EQ(turn->text, "abababa");

  request = Request(*engine, nullptr, {OutputFormat::Kind::kGrammar, "root ::= \"ab\"{20} \"c\""}, 1);
  request.stop = {"bab"};
  turn = Run(*engine, std::move(request));
  EXPECT_EQ(turn->end.reason, FinishReason::kStop);
  EXPECT_EQ(turn->end.matched_stop, "bab");
  EXPECT_EQ(turn->text, "a");
}

TEST_F(EngineConstraintTest, EndTokensComeExactlyWhereTheFormMayEnd) {
  auto engine = LoadTiny({.eos_token_id = kTinyEndOfTurn, .memory = TinyMemory::kMemgate});
  auto session = MakeSession(*engine);
  const auto turn =
      Run(*engine, Request(*engine, session, {OutputFormat::Kind::kGrammar, "root ::= \"abc\""}, 1));
  EXPECT_EQ(turn->text, "abc");
  EXPECT_EQ(turn->end.reason, FinishReason::kStop);
  EXPECT_EQ(turn->end.completion_tokens, 4);  // the end token, too: it waits in the session like any other
  EXPECT_EQ(engine->Describe(*session).accounting.total, 24);
}

TEST_F(EngineConstraintTest, WithoutAnEndTokenTheAnswerEndsWhereNothingCanFollow) {
  const std::string folder = WriteTinyModel(folder_.File("endless"), {.eos_token_id = -1});
  std::ofstream(folder + "/tokenizer_config.json") << "{}";
  nlohmann::json tokenizer = nlohmann::json::parse(std::ifstream(folder + "/tokenizer.json"));
  for (nlohmann::json& token : tokenizer["added_tokens"]) token["content"] = "<" + token["id"].dump() + ">";
  std::ofstream(folder + "/tokenizer.json") << tokenizer.dump();
  auto loaded = Engine::Load({.model_path = folder, .threads = 2});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  Engine& engine = **loaded;
  const auto turn =
      Run(engine, Request(engine, nullptr, {OutputFormat::Kind::kGrammar, "root ::= \"abc\""}, 1));
  EXPECT_TRUE(turn->end.status.ok()) << turn->end.status;
  EXPECT_EQ(turn->text, "abc");
  EXPECT_EQ(turn->end.reason, FinishReason::kStop);
}

TEST_F(EngineConstraintTest, EqualFormatsShareWhatWasComputed) {
  auto engine = LoadTiny();
  const OutputFormat format = {OutputFormat::Kind::kJsonSchema, kSchema};
  auto first = Constrain(*engine, format);
  EXPECT_EQ(Constrain(*engine, format), first);
  const auto make_others = [&] {
    for (int i = 0; i < 5; ++i) {
      Constrain(*engine, {OutputFormat::Kind::kGrammar, "root ::= \"" + std::to_string(i) + "\""});
    }
  };
  make_others();
  EXPECT_EQ(Constrain(*engine, format), first) << "it is in use";
  const std::weak_ptr<TokenConstraint> seen = first;
  first.reset();
  EXPECT_FALSE(seen.expired()) << "the latest are kept";
  make_others();
  EXPECT_TRUE(seen.expired());
  EXPECT_NE(Constrain(*engine, format), nullptr);
}

TEST_F(EngineConstraintTest, EqualFormatsAtOnceAreCompiledOnce) {
  auto engine = LoadTiny();
  const OutputFormat format = {OutputFormat::Kind::kJsonSchema, kSchema};
  std::vector<std::shared_ptr<TokenConstraint>> got(8);
  std::vector<std::thread> threads;
  for (auto& one : got) threads.emplace_back([&] { one = Constrain(*engine, format); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& one : got) EXPECT_EQ(one, got.front());
}

// The engine does not know this end token, so the turn hands it to the form, which refuses it.
TEST_F(EngineConstraintTest, ATokenThatNobodySawIsNoneOfTheConversation) {
  auto engine = LoadTiny();
  constexpr TokenId kUnknownEnd = 'z';
  const auto trie = std::make_shared<const TokenTrie>(engine->tokenizer(), engine->model().config.vocab_size,
                                                      std::vector<TokenId>{kUnknownEnd});
  const auto constraint =
      TokenConstraint::Create(*CompileOutputFormat({OutputFormat::Kind::kGrammar, "root ::= \"ab\""}), trie);
  ASSERT_TRUE(constraint.ok()) << constraint.status();
  auto session = MakeSession(*engine);
  TurnRequest request;
  request.lease = Lease(*engine, session);
  request.tokens = RandomTokens(20, 1);
  request.constraint = *constraint;
  const auto turn = Run(*engine, std::move(request));
  EXPECT_EQ(turn->end.status.code(), absl::StatusCode::kInternal) << turn->end.status;
  EXPECT_EQ(turn->text, "ab");
  EXPECT_EQ(turn->end.completion_tokens, 2);
  EXPECT_EQ(engine->Describe(*session).accounting.total, 22);
  EXPECT_TRUE(Generate(*engine, session, RandomTokens(3, 2), 2)->end.status.ok());
  EXPECT_EQ(engine->Describe(*session).accounting.total, 27);
}

TEST_F(EngineConstraintTest, BytesComeOutOfTheBudgetAndGoBack) {
  auto engine = LoadTiny();
  const int64_t before = engine->Stats().reserved_bytes;
  auto constraint = Constrain(*engine, {OutputFormat::Kind::kJsonObject, ""});
  const int64_t with_one = engine->Stats().reserved_bytes;
  EXPECT_GT(with_one, before);
  EXPECT_LT(with_one - before, CompileBudget::kMaxBytes) << "what compiling took went back";
  // What is kept for later makes room for compiling another.
  const OutputFormat other = {OutputFormat::Kind::kGrammar, "root ::= \"a\""};
  const int64_t spare = CompileBytes(other) - (with_one - before) / 2;
  auto all_but_spare = engine->Reserve(engine->Stats().budget_bytes - with_one - spare, "the test");
  ASSERT_TRUE(all_but_spare.ok());
  constraint.reset();
  constraint = Constrain(*engine, other);
  ASSERT_NE(constraint, nullptr);
  const auto refused = engine->Constrain({OutputFormat::Kind::kGrammar, "root ::= \"b\""});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused.status()), "MEMORY_BUDGET");
}

TEST_F(EngineConstraintTest, ErrorsSayWhatIsWrong) {
  auto engine = LoadTiny();
  EXPECT_THAT(
      std::string(engine->Constrain({OutputFormat::Kind::kJsonSchema, R"({"not": {}})"}).status().message()),
      HasSubstr("/not: "));
  EXPECT_THAT(std::string(engine->Constrain({OutputFormat::Kind::kGrammar, "root"}).status().message()),
              HasSubstr("line 1"));
  TurnRequest request = Request(*engine, nullptr, {OutputFormat::Kind::kJsonObject, ""}, 1);
  request.ignore_eos = true;
  const auto turn = Run(*engine, std::move(request));
  EXPECT_EQ(turn->end.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(turn->end.status.message()), testing::StartsWith("ignore_eos: "));
}

}  // namespace
}  // namespace memgate
