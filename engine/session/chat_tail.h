// What a session keeps of its chat, so that the next turn can be rendered as its continuation.
#ifndef MEMGATE_ENGINE_SESSION_CHAT_TAIL_H_
#define MEMGATE_ENGINE_SESSION_CHAT_TAIL_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace memgate {

// How the tokens that a session holds compare with those of the whole conversation as its chat template
// renders it. Ascending: adding tokens makes it no better.
enum class ChatMatch : uint8_t {
  kTokens,   // the same tokens
  kText,     // the same text: the model cut an answer into other tokens than the tokenizer does
  kUnknown,  // not known
  kChanged,  // another text
};

// Not thread-safe. State: kNone -> kAnswer when chat messages are answered; from there every turn leads to
// one of the other three.
struct ChatTail {
  // Of what is kept outside of this struct; a turn of 4,096 tokens needs 16 KiB.
  static constexpr int64_t kMaxBytes = int64_t{1} << 20;

  // What the session ends with.
  enum class State : uint8_t {
    kNone,           // no chat was ever taken in
    kOther,          // something behind a chat: text, ids, the messages of a turn that broke off in them
    kUnknownAnswer,  // an answer to chat messages of which something is not known, to us or to the client
    kAnswer,         // `answer`
  };
  State state = State::kNone;
  ChatMatch match = ChatMatch::kTokens;  // of all that is before the answer
  bool ended = false;                    // the session's pending token ended the answer, and is none of it
  // Whether the template writes something before the answer otherwise once another answer and a message of
  // the user, or of a tool, follow.
  bool fades_before_user = false;
  bool fades_before_tool = false;
  // SHA-256 of what the template made of a question that stands in for the conversation, and of all that
  // templates read beside messages.
  std::array<uint8_t, 32> prompt_digest = {};
  std::optional<std::string> system;  // the system message that the conversation begins with, if there is one
  std::vector<int32_t> answer;        // token ids; empty unless kAnswer

  bool follows_answer() const { return state == State::kAnswer || state == State::kUnknownAnswer; }
  // Of `system` and `answer`. Unit: bytes.
  int64_t HeldBytes() const {
    return static_cast<int64_t>(system ? system->size() : 0) +
           static_cast<int64_t>(answer.size() * sizeof(int32_t));
  }

  // The answer goes on with `id`.
  void Append(int32_t id) {
    if (state != State::kAnswer) return;
    answer.push_back(id);
    if (HeldBytes() > kMaxBytes) LoseAnswer();
  }
  void LoseAnswer() {
    if (state == State::kAnswer) state = State::kUnknownAnswer;
    answer = {};
  }
  // Something follows that is neither an answer nor chat messages that continue it.
  void Interrupt() {
    LoseAnswer();
    ended = false;
    if (state == State::kNone) return;
    state = State::kOther;
    match = std::max(match, ChatMatch::kUnknown);
  }
  // Keeps nothing outside of this struct.
  void LoseTexts() {
    LoseAnswer();
    if (system) match = std::max(match, ChatMatch::kUnknown);
    system.reset();
  }
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SESSION_CHAT_TAIL_H_
