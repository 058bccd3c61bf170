#include "engine/session/snapshot.h"

#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/session/scripted_session.h"

namespace memgate {
namespace {

constexpr size_t kChecksumBytes = 32;

// A snapshot of a session that has folded, with every header field set.
class SnapshotTest : public testing::Test {
 protected:
  SnapshotTest()
      : model_(SmallConfig(), KvFormat::kBf16),
        session_(model_.Context(model_.memgate()), shape_, std::pmr::new_delete_resource()) {
    Feed(model_, session_, 21);
    bytes_ = EncodeSnapshot(header_, session_);
  }

  static std::string WithChecksum(std::string body) {
    unsigned char digest[kChecksumBytes];
    SHA256(reinterpret_cast<const unsigned char*>(body.data()), body.size(), digest);
    return body.append(reinterpret_cast<const char*>(digest), kChecksumBytes);
  }
  std::string Body() const { return bytes_.substr(0, bytes_.size() - kChecksumBytes); }

  // The snapshot with one number of its header replaced and the checksum made right again.
  template <typename T>
  std::string WithNumber(size_t offset, T value) const {
    std::string body = Body();
    std::memcpy(body.data() + offset, &value, sizeof(value));
    return WithChecksum(body);
  }

  const ScriptedModel model_;
  const SessionShape shape_{2, 5, 4, 3};
  SessionState session_;
  const SnapshotHeader header_{.model_fingerprint = "sha256:base",
                               .model_settings = "sha256:settings",
                               .memory_kind = "memgate",
                               .memory_fingerprint = "sha256:module",
                               .kv_format = KvFormat::kBf16,
                               .shape = shape_,
                               .length = 21,
                               .pending_token = 17,
                               .turns = 3,
                               .chat = {.state = ChatTail::State::kAnswer,
                                        .match = ChatMatch::kText,
                                        .ended = true,
                                        .fades_before_tool = true,
                                        .prompt_digest = {0xD1, 0x6E},
                                        .system = "Be kind.",
                                        .answer = {7, 0, 9}}};
  std::string bytes_;

  // Offsets of the header's fields: magic 8, version 4, then five strings with a 4-byte length each.
  static constexpr size_t kVersion = 8;
  static constexpr size_t kFirstString = 12;
  static constexpr size_t kSecondString = kFirstString + 4 + 11;
  static constexpr size_t kThirdString = kSecondString + 4 + 15;
  static constexpr size_t kFormat = kThirdString + 4 + 7 + 4 + 13;
  static constexpr size_t kShape = kFormat + 4 + 4;
  static constexpr size_t kLength = kShape + 16;
  static constexpr size_t kPending = kLength + 8;
  static constexpr size_t kTurns = kPending + 4;
  // Of the chat: three bytes, the digest, the system message and the answer with their lengths.
  static constexpr size_t kChat = kTurns + 8;
  static constexpr size_t kSystem = kChat + 3 + 32;
  static constexpr size_t kAnswer = kSystem + 4 + 8;
  static constexpr size_t kLive = kAnswer + 4 + 12;
};

void ExpectRefused(const std::string& bytes, const std::string& message) {
  const auto parsed = ParseSnapshot(bytes);
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parsed.status().message(), message);
}

TEST_F(SnapshotTest, HeaderAndStateComeBack) {
  const auto parsed = ParseSnapshot(bytes_);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->header.model_fingerprint, "sha256:base");
  EXPECT_EQ(parsed->header.model_settings, "sha256:settings");
  EXPECT_EQ(parsed->header.memory_kind, "memgate");
  EXPECT_EQ(parsed->header.memory_fingerprint, "sha256:module");
  EXPECT_EQ(parsed->header.kv_format, KvFormat::kBf16);
  EXPECT_EQ(parsed->header.shape, shape_);
  EXPECT_EQ(parsed->header.length, 21);
  EXPECT_EQ(parsed->header.pending_token, 17);
  EXPECT_EQ(parsed->header.turns, 3);
  const ChatTail& chat = parsed->header.chat;
  EXPECT_EQ(chat.state, ChatTail::State::kAnswer);
  EXPECT_EQ(chat.match, ChatMatch::kText);
  EXPECT_TRUE(chat.ended);
  EXPECT_FALSE(chat.fades_before_user);
  EXPECT_TRUE(chat.fades_before_tool);
  EXPECT_EQ(chat.prompt_digest, header_.chat.prompt_digest);
  EXPECT_EQ(chat.system, "Be kind.");
  EXPECT_EQ(chat.answer, (std::vector<int32_t>{7, 0, 9}));
  EXPECT_EQ(parsed->live, Live(session_));
  EXPECT_EQ(EncodeSnapshot(parsed->header, session_), bytes_);
}

TEST_F(SnapshotTest, EmptySessionComesBack) {
  const SessionState empty(model_.Context(model_.window()), {2, 5, 4}, std::pmr::new_delete_resource());
  const std::string bytes = EncodeSnapshot({.memory_kind = "window", .shape = {2, 5, 4}}, empty);
  const auto parsed = ParseSnapshot(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->header.pending_token, kNoToken);
  EXPECT_TRUE(parsed->live.empty());
  SessionState restored(model_.Context(model_.window()), parsed->header.shape,
                        std::pmr::new_delete_resource());
  EXPECT_TRUE(restored.RestoreLive(0, parsed->live).ok());
  EXPECT_TRUE(restored.RestoreLive(0, std::string_view()).ok());
}

// As earlier versions wrote it: 4 knew of no chat, 3 of no settings either.
TEST_F(SnapshotTest, OfEarlierVersionsIsReadWithoutWhatTheyDidNotHold) {
  for (const char version : {3, 4}) {
    std::string body = Body();
    body.erase(kChat, kLive - kChat);
    if (version == 3) body.erase(kSecondString, kThirdString - kSecondString);
    body[kVersion] = version;
    const std::string older = WithChecksum(body);
    const auto parsed = ParseSnapshot(older);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->header.model_fingerprint, "sha256:base");
    EXPECT_EQ(parsed->header.model_settings, version == 3 ? "" : "sha256:settings");
    EXPECT_EQ(parsed->header.memory_kind, "memgate");
    EXPECT_EQ(parsed->header.turns, 3);
    EXPECT_EQ(parsed->live, Live(session_));
    // Its answers may have been those of a chat.
    EXPECT_EQ(parsed->header.chat.state, ChatTail::State::kOther);
    EXPECT_EQ(parsed->header.chat.match, ChatMatch::kUnknown);
  }
}

TEST_F(SnapshotTest, OfAnEarlierVersionWithoutAnswersHoldsNoChat) {
  std::string body = Body();
  body.erase(kChat, kLive - kChat);
  body[kVersion] = 4;
  body.replace(kTurns, 8, 8, '\0');
  const std::string older = WithChecksum(body);
  const auto parsed = ParseSnapshot(older);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->header.chat.state, ChatTail::State::kNone);
  EXPECT_EQ(parsed->header.chat.match, ChatMatch::kTokens);
}

TEST_F(SnapshotTest, AChatThatContradictsItselfIsRefused) {
  const std::string malformed = "session snapshot header malformed";
  ExpectRefused(WithNumber<uint8_t>(kChat, 4), malformed);
  ExpectRefused(WithNumber<uint8_t>(kChat + 1, 4), malformed);
  ExpectRefused(WithNumber<uint8_t>(kChat + 2, 16), malformed);
  // A system message that the flags deny, an answer where none is known, an end of something else.
  ExpectRefused(WithNumber<uint8_t>(kChat + 2, 1), malformed);
  ExpectRefused(WithNumber<uint8_t>(kChat, static_cast<uint8_t>(ChatTail::State::kUnknownAnswer)), malformed);
  SnapshotHeader header = header_;
  header.chat.answer.clear();
  header.chat.state = ChatTail::State::kOther;
  ExpectRefused(EncodeSnapshot(header, session_), malformed);
  header.chat.ended = false;
  EXPECT_TRUE(ParseSnapshot(EncodeSnapshot(header, session_)).ok());
  ExpectRefused(WithNumber<int32_t>(kPending, kNoToken),
                "session snapshot with an answer that no token ended");
  // More than a session may keep.
  header.chat.system = std::string(ChatTail::kMaxBytes, 'x');
  EXPECT_TRUE(ParseSnapshot(EncodeSnapshot(header, session_)).ok());
  header.chat.state = ChatTail::State::kAnswer;
  header.chat.answer = {1};
  ExpectRefused(EncodeSnapshot(header, session_), malformed);
}

TEST_F(SnapshotTest, IsRefusedCutAtEveryByte) {
  for (size_t size = 0; size < bytes_.size(); ++size) {
    EXPECT_FALSE(ParseSnapshot(std::string_view(bytes_).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(ParseSnapshot(bytes_ + '\0').ok());
}

TEST_F(SnapshotTest, IsRefusedWithAnyByteChanged) {
  for (size_t i = 0; i < bytes_.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string damaged = bytes_;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      EXPECT_FALSE(ParseSnapshot(damaged).ok()) << i;
    }
  }
}

TEST_F(SnapshotTest, SaysWhatIsWrong) {
  ExpectRefused("", "not a session snapshot: wrong magic");
  ExpectRefused("GGUF", "not a session snapshot: wrong magic");
  ExpectRefused(bytes_.substr(0, 43), "session snapshot cut short");
  ExpectRefused(bytes_.substr(0, bytes_.size() - 1),
                "session snapshot damaged or cut short: its checksum does not match");
  ExpectRefused(WithNumber<uint32_t>(kVersion, 2),
                "session snapshot of version 2; this build reads versions 3 to 5");
  ExpectRefused(WithNumber<uint32_t>(kVersion, 6),
                "session snapshot of version 6; this build reads versions 3 to 5");
  ExpectRefused(WithNumber<char>(kFormat + 4, 'x'), "unknown KV format 'xf16'; known: f32, bf16, int8");
  ExpectRefused(WithNumber<int64_t>(kLength, -1), "session snapshot with impossible length -1");
  ExpectRefused(WithNumber<int64_t>(kLength, (int64_t{1} << 40) + 1),
                "session snapshot with impossible length 1099511627777");
  ExpectRefused(WithNumber<int32_t>(kPending, -2), "session snapshot with an impossible token or turn count");
  ExpectRefused(WithNumber<int64_t>(kTurns, -1), "session snapshot with an impossible token or turn count");
  ExpectRefused(WithNumber<int32_t>(kShape + 4, 0), "window_tokens: 0 is outside [1, 1048576] tokens");
}

// Somebody who writes a right checksum still cannot make the parser read or allocate out of bounds.
TEST_F(SnapshotTest, HostileStringLengthsAreRefused) {
  for (const uint32_t size : {257u, 100'000u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    ExpectRefused(WithNumber<uint32_t>(kFirstString, size), "session snapshot header malformed");
    ExpectRefused(WithNumber<uint32_t>(kSecondString, size), "session snapshot header malformed");
    ExpectRefused(WithNumber<uint32_t>(kThirdString, size), "session snapshot header malformed");
    ExpectRefused(WithNumber<uint32_t>(kFormat, size), "session snapshot header malformed");
  }
  for (const uint32_t size : {0x7FFFFFFFu, 0xFFFFFFFFu}) {
    ExpectRefused(WithNumber<uint32_t>(kSystem, size), "session snapshot header malformed");
    ExpectRefused(WithNumber<uint32_t>(kAnswer, size), "session snapshot header malformed");
  }
}

TEST_F(SnapshotTest, HeaderThatEndsEarlyIsRefused) {
  for (size_t size = kFirstString; size < kLive; ++size) {
    ExpectRefused(WithChecksum(bytes_.substr(0, size)), "session snapshot header malformed");
  }
}

TEST_F(SnapshotTest, StateThatDoesNotFitItsHeaderIsRefusedByTheSession) {
  for (const std::string& bytes :
       {WithNumber<int64_t>(kLength, 22), WithNumber<int64_t>(kLength, 0),
        WithNumber<int64_t>(kLength, int64_t{1} << 40), WithChecksum(bytes_.substr(0, kLive))}) {
    const auto parsed = ParseSnapshot(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    SessionState target(model_.Context(model_.memgate()), parsed->header.shape,
                        std::pmr::new_delete_resource());
    EXPECT_EQ(target.RestoreLive(parsed->header.length, parsed->live).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace memgate
