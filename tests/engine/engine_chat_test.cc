// What a session keeps of its chat, turn by turn.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/scheduling/session.h"
#include "gmock/gmock.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/notification.h"

namespace memgate {
namespace {

using State = ChatTail::State;

class EngineChatTest : public EngineFixture {
 protected:
  static constexpr int64_t kSystemBytes = 8;

  void SetUp() override {
    engine_ =
        LoadTiny({.eos_token_id = kTinyEndOfTurn, .memory = TinyMemory::kMemgate}, {.max_batch_tokens = 64});
    ASSERT_NE(engine_, nullptr);
    session_ = MakeSession(*engine_);
  }

  static ChatTail Chat() { return {.state = State::kAnswer, .system = "Be kind."}; }
  // Greedy, without an end token unless `id` is one, of nothing but `id` if it is not kNoToken.
  static SamplingParams Always(int32_t id) {
    SamplingParams sampling;
    sampling.logit_bias = {{kTinyEndOfText, -100}, {kTinyEndOfTurn, -100}};
    if (id != kNoToken) sampling.logit_bias = {{id, 100}};
    return sampling;
  }
  TurnRequest Asked(std::vector<TokenId> tokens, int max_new, int32_t only = kNoToken) {
    return {.lease = Lease(*engine_, session_),
            .tokens = std::move(tokens),
            .max_new_tokens = max_new,
            .sampling = Always(only),
            .chat = Chat()};
  }
  ChatTail Tail(const std::shared_ptr<Session>& session) { return Lease(*engine_, session)->chat_tail(); }
  ChatTail Tail() { return Tail(session_); }
  int64_t Reserved() const { return engine_->Stats().reserved_bytes; }

  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Session> session_;
};

TEST_F(EngineChatTest, AnswersOfAnyLengthAreKeptAndTheirBytesAreCharged) {
  const int64_t before = Reserved();
  const int64_t session_bytes = engine_->Describe(*session_).bytes;
  const auto turn = Run(*engine_, Asked(RandomTokens(10, 1), 2000, 'a'));
  ASSERT_TRUE(turn->end.status.ok()) << turn->end.status;
  ASSERT_EQ(turn->tokens.size(), 2000u);
  EXPECT_EQ(Tail().state, State::kAnswer);
  EXPECT_EQ(Tail().answer, turn->tokens);
  EXPECT_EQ(Tail().system, "Be kind.");
  EXPECT_FALSE(Tail().ended);
  EXPECT_EQ(engine_->Describe(*session_).bytes, session_bytes) << "the session's own are fixed";
  EXPECT_EQ(engine_->Describe(*session_).chat_bytes, kSystemBytes + 4 * 2000);
  EXPECT_EQ(Reserved(), before + kSystemBytes + 4 * 2000);

  ASSERT_TRUE(Run(*engine_, Asked(RandomTokens(10, 2), 5, 'a'))->end.status.ok());
  EXPECT_EQ(Reserved(), before + kSystemBytes + 4 * 5) << "of the latest answer only";
  engine_->Reset(*Lease(*engine_, session_));
  EXPECT_EQ(Reserved(), before);
  EXPECT_EQ(Tail().state, State::kNone);
}

TEST_F(EngineChatTest, AnAnswerThatTheBudgetHasNoRoomForIsNotKept) {
  const int64_t prompt_bytes = 10 * 2 * sizeof(TokenId);  // until the turn is over
  const int64_t needed = kSystemBytes + 4 * 40;
  for (const int64_t room : {needed, needed - 1}) {
    session_ = MakeSession(*engine_);
    auto rest =
        engine_->Reserve(engine_->Stats().budget_bytes - Reserved() - prompt_bytes - room, "the test");
    ASSERT_TRUE(rest.ok()) << rest.status();
    const int64_t before = Reserved();
    const auto turn = Run(*engine_, Asked(RandomTokens(10, 1), 40, 'a'));
    ASSERT_TRUE(turn->end.status.ok()) << turn->end.status;
    const bool fits = room == needed;
    EXPECT_EQ(Tail().state, fits ? State::kAnswer : State::kUnknownAnswer);
    EXPECT_EQ(Tail().match, fits ? ChatMatch::kTokens : ChatMatch::kUnknown);
    EXPECT_EQ(Tail().system.has_value(), fits);
    EXPECT_EQ(Reserved(), before + (fits ? needed : 0));
  }
}

TEST_F(EngineChatTest, ATurnWithoutInputGoesOnWithTheAnswer) {
  const auto first = Run(*engine_, Asked(RandomTokens(10, 1), 6, 'a'));
  TurnRequest more = Asked({}, 4, 'b');
  more.chat.reset();
  const auto second = Run(*engine_, std::move(more));
  ASSERT_TRUE(second->end.status.ok()) << second->end.status;
  std::vector<TokenId> answer = first->tokens;
  answer.insert(answer.end(), second->tokens.begin(), second->tokens.end());
  EXPECT_EQ(Tail().state, State::kAnswer);
  EXPECT_EQ(Tail().answer, answer);

  // What goes on behind an end token has it in the middle, and the client did not see it.
  ASSERT_TRUE(Run(*engine_, Asked(RandomTokens(3, 2), 4, kTinyEndOfTurn))->end.status.ok());
  EXPECT_TRUE(Tail().ended);
  EXPECT_TRUE(Tail().answer.empty());
  TurnRequest behind_end = Asked({}, 2, 'a');
  behind_end.chat.reset();
  ASSERT_TRUE(Run(*engine_, std::move(behind_end))->end.status.ok());
  EXPECT_FALSE(Tail().ended);
  EXPECT_EQ(Tail().state, State::kUnknownAnswer);
}

// The client sees U+FFFD for its bytes, and once more for those of a turn that goes on with it.
TEST_F(EngineChatTest, AnAnswerThatEndsInsideACharacterIsNotKnown) {
  constexpr TokenId kFirstByteOfThree = 0xE4;
  ASSERT_TRUE(Run(*engine_, Asked(RandomTokens(10, 1), 3, kFirstByteOfThree))->end.status.ok());
  EXPECT_EQ(Tail().state, State::kUnknownAnswer);
  EXPECT_TRUE(Tail().answer.empty());
}

TEST_F(EngineChatTest, AnInputMayReplaceTheEndTokenOfTheAnswer) {
  const std::vector<TokenId> first = RandomTokens(10, 1), second = RandomTokens(12, 2);
  ASSERT_TRUE(Run(*engine_, Asked(first, 4, kTinyEndOfTurn))->end.status.ok());
  EXPECT_EQ(engine_->Describe(*session_).accounting.total, 11);
  TurnRequest request = Asked(second, 8);
  request.replaces_end = true;
  const auto replaced = Run(*engine_, std::move(request));
  ASSERT_TRUE(replaced->end.status.ok()) << replaced->end.status;
  EXPECT_EQ(replaced->start.prompt_tokens, 12);
  EXPECT_EQ(replaced->start.accounting.total, 22);

  const auto never_there = MakeSession(*engine_);
  std::vector<TokenId> all = first;
  all.insert(all.end(), second.begin(), second.end());
  const auto whole = Run(*engine_, {.lease = Lease(*engine_, never_there),
                                    .tokens = all,
                                    .max_new_tokens = 8,
                                    .sampling = Always(kNoToken)});
  EXPECT_EQ(replaced->tokens, whole->tokens);
  EXPECT_EQ(engine_->Describe(*session_).accounting.total, engine_->Describe(*never_there).accounting.total);

  TurnRequest nothing = Asked({}, 1);
  nothing.replaces_end = true;
  EXPECT_EQ(Run(*engine_, std::move(nothing))->end.status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(EngineChatTest, WhatIsNoChatComesBetween) {
  const auto expect_between = [&](const char* what) {
    EXPECT_EQ(Tail().state, State::kOther) << what;
    EXPECT_EQ(Tail().match, ChatMatch::kUnknown) << what;
    EXPECT_EQ(engine_->Describe(*session_).chat_bytes, kSystemBytes) << what;
    session_ = MakeSession(*engine_);
    ASSERT_TRUE(Run(*engine_, Asked(RandomTokens(5, 1), 4))->end.status.ok());
    ASSERT_EQ(Tail().state, State::kAnswer);
  };
  ASSERT_TRUE(Run(*engine_, Asked(RandomTokens(5, 1), 4))->end.status.ok());
  Generate(*engine_, session_, RandomTokens(2, 3), 2);
  expect_between("a prompt");
  Ingest(*engine_, session_, RandomTokens(1, 3));
  expect_between("one token");
  auto recorder = std::make_shared<TurnRecorder>();
  std::shared_ptr<Turn> turn;
  Notification submitted;
  recorder->on_progress = [&] {
    submitted.WaitForNotification();
    engine_->Cancel(turn);
  };
  auto broken = engine_->Submit(Asked(RandomTokens(300, 2), 4), recorder);
  ASSERT_TRUE(broken.ok()) << broken.status();
  turn = *broken;
  submitted.Notify();
  EXPECT_EQ(recorder->Wait().status.code(), absl::StatusCode::kCancelled);
  expect_between("messages that broke off");
}

TEST_F(EngineChatTest, AnAnswerThatTheClientMayNotHaveSeenWholeIsNotKnown) {
  auto recorder = std::make_shared<TurnRecorder>();
  std::shared_ptr<Turn> turn;
  Notification submitted;
  recorder->on_delta = [&] {
    submitted.WaitForNotification();
    engine_->Cancel(turn);
  };
  auto broken = engine_->Submit(Asked(RandomTokens(5, 1), 1000, 'a'), recorder);
  ASSERT_TRUE(broken.ok()) << broken.status();
  turn = *broken;
  submitted.Notify();
  EXPECT_EQ(recorder->Wait().status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Tail().state, State::kUnknownAnswer);

  session_ = MakeSession(*engine_);
  TurnRequest stopped = Asked(RandomTokens(5, 1), 10, 'a');
  stopped.stop = {"aaa"};
  EXPECT_EQ(Run(*engine_, std::move(stopped))->end.matched_stop, "aaa");
  EXPECT_EQ(Tail().state, State::kUnknownAnswer);
}

TEST_F(EngineChatTest, ForksAndSnapshotsTakeItAlong) {
  TurnRequest request = Asked(RandomTokens(10, 1), 6);
  request.chat->fades_before_user = true;
  request.chat->prompt_digest = {1, 2, 3};
  request.chat->match = ChatMatch::kText;
  ASSERT_TRUE(Run(*engine_, std::move(request))->end.status.ok());
  const ChatTail held = Tail();
  ASSERT_EQ(held.answer.size(), 6u);
  const int64_t one = engine_->Describe(*session_).bytes + kSystemBytes + 4 * 6;
  for (const bool fork : {true, false}) {
    const int64_t before = Reserved();
    const auto copy =
        fork ? engine_->Fork(*Lease(*engine_, session_)) : engine_->Import(Snapshot(*engine_, session_));
    ASSERT_TRUE(copy.ok()) << copy.status();
    EXPECT_EQ(Reserved(), before + one);
    const ChatTail tail = Tail(*copy);
    EXPECT_EQ(tail.state, held.state);
    EXPECT_EQ(tail.match, held.match);
    EXPECT_EQ(tail.fades_before_user, held.fades_before_user);
    EXPECT_EQ(tail.prompt_digest, held.prompt_digest);
    EXPECT_EQ(tail.system, held.system);
    EXPECT_EQ(tail.answer, held.answer);
  }
}

TEST_F(EngineChatTest, SnapshotsWithIdsOutsideTheVocabularyAreRefused) {
  TurnRequest request = Asked(RandomTokens(10, 1), 6);
  ASSERT_TRUE(Run(*engine_, std::move(request))->end.status.ok());
  for (const int32_t id : {-1, kTinyVocabSize}) {
    const auto lease = Lease(*engine_, session_);
    ChatTail tail = lease->chat_tail();
    tail.answer.back() = id;
    lease->set_chat_tail(std::move(tail));
    const auto snapshot = engine_->Export(*lease);
    ASSERT_TRUE(snapshot.ok());
    EXPECT_EQ(ReasonOf(engine_->Import(*snapshot).status()), "SNAPSHOT_INVALID") << id;
  }
}

}  // namespace
}  // namespace memgate
