#include "server/chat_continuation.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/algorithm/container.h"
#include "engine/text/unicode.h"
#include "server/generate_request.h"

namespace memgate {
namespace {

using Turns = std::vector<ChatTurn>;

ChatTurn Question(std::string role) { return {.role = std::move(role), .content = "?"}; }
ChatTurn Answer(std::string_view content) { return {.role = "assistant", .content = std::string(content)}; }

Turns Joined(Turns turns, const Turns& rest) {
  turns.insert(turns.end(), rest.begin(), rest.end());
  return turns;
}

std::optional<std::string> SystemOf(const Turns& turns) {
  if (turns.empty() || turns.front().role != "system") return std::nullopt;
  return turns.front().content;
}

size_t CommonPrefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

// Of all texts, each behind its length (docs/formats.md).
std::array<uint8_t, SHA256_DIGEST_LENGTH> Digest(const std::vector<std::string_view>& texts) {
  std::string bytes;
  for (const std::string_view text : texts) {
    const auto size = static_cast<uint64_t>(text.size());
    bytes.append(reinterpret_cast<const char*>(&size), sizeof(size)).append(text);
  }
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return digest;
}

// What follows `first` in `all`; nothing if `all` begins otherwise.
std::optional<std::vector<TokenId>> Behind(const std::vector<TokenId>& first,
                                           const std::vector<TokenId>& all) {
  if (first.size() > all.size() || !std::equal(first.begin(), first.end(), all.begin())) return std::nullopt;
  return std::vector<TokenId>(all.begin() + static_cast<ptrdiff_t>(first.size()), all.end());
}

// The text of the session's latest answer, if it is known and a client can send it back: special tokens leave
// no text, nor do ids that a larger model has no token for, and U+FFFD stands for bytes that are not known.
std::optional<std::string> AnswerIn(const ChatTail& held, const Tokenizer& tokenizer) {
  if (held.state != ChatTail::State::kAnswer) return std::nullopt;
  int64_t bytes = 0;
  for (const TokenId id : held.answer) {
    const auto size = static_cast<int64_t>(tokenizer.TokenBytes(id).size());
    bytes += size;
    if (size == 0 || bytes > ChatTail::kMaxBytes) return std::nullopt;
  }
  std::string text = Decode(tokenizer, held.answer, TextPosition::kContinuation);
  if (text.find(kReplacementCharacter) != std::string::npos) return std::nullopt;
  return text;
}

struct Continuation {
  ChatMatch match = ChatMatch::kUnknown;
  std::optional<std::vector<TokenId>> tokens;  // none: not found out
};

// A conversation that stands in for the one that a session holds.
class StandIn {
 public:
  StandIn(const v1::ChatMessages& chat, const Engine& engine, std::optional<std::string> system)
      : engine_(engine), variables_(ToVariables(chat)), system_(std::move(system)) {
    if (system_) question_.push_back({.role = "system", .content = *system_});
    question_.push_back(Question("user"));
    prompt_ = Render(question_);
    if (!prompt_.ok()) return;
    const auto answered = Render(Joined(question_, {Answer(kAnyAnswer), Question("user")}));
    opening_bytes_ = prompt_->size() - (answered.ok() ? CommonPrefix(*prompt_, *answered) : 0);
  }

  absl::StatusOr<std::string> Render(const Turns& turns) const {
    return engine_.RenderChat(turns, variables_, true);
  }

  Turns With(std::string_view answer, const Turns& messages) const {
    return Joined(Joined(question_, {Answer(answer)}), messages);
  }

  // `answer`: the text of that in `held`. kUnknown and kChanged come without tokens.
  Continuation BehindAnswer(const ChatTail& held, const std::string& answer, const Turns& messages) const {
    const auto whole = Render(With(answer, messages));
    if (!prompt_.ok() || !whole.ok()) return {};
    const std::string before = *prompt_ + answer;
    if (PromptDigest() != held.prompt_digest || !whole->starts_with(before)) {
      return {.match = ChatMatch::kChanged};
    }
    auto ids = Encode(*prompt_);
    const auto all = Encode(*whole);
    if (!ids.ok() || !all.ok()) return {};
    ids->insert(ids->end(), held.answer.begin(), held.answer.end());
    if (auto rest = Behind(*ids, *all)) return {ChatMatch::kTokens, std::move(rest)};
    if (SpellsSpecialToken(answer)) return {.match = ChatMatch::kChanged};
    return {ChatMatch::kText, EncodeBehind(before, whole->substr(before.size()))};
  }

  // What follows an answer, wherever the template puts it; nothing if it is nowhere.
  std::optional<std::vector<TokenId>> BehindAnyAnswer(const Turns& messages) const {
    const auto whole = Render(With(kAnyAnswer, messages));
    const auto end = whole.ok() ? EndOfAnyAnswer(*whole) : std::nullopt;
    if (!end) return std::nullopt;
    return EncodeBehind(whole->substr(0, *end), whole->substr(*end));
  }

  // What a session is to know whose chat ends with `turns`.
  ChatTail TailBehind(const Turns& turns) const {
    ChatTail tail{.state = ChatTail::State::kAnswer, .system = system_};
    if (prompt_.ok()) tail.prompt_digest = PromptDigest();
    if (const auto now = Render(turns); now.ok()) {
      tail.fades_before_user = Fades(turns, *now, "user");
      tail.fades_before_tool = Fades(turns, *now, "tool");
    }
    if (tail.HeldBytes() > ChatTail::kMaxBytes) tail.LoseTexts();
    return tail;
  }

 private:
  // Of the beginning of the conversation and of all that a template may render it by.
  std::array<uint8_t, SHA256_DIGEST_LENGTH> PromptDigest() const {
    std::vector<std::string_view> texts = {*prompt_};
    texts.insert(texts.end(), variables_.tools.begin(), variables_.tools.end());
    for (const auto& [name, json] : variables_.arguments) {
      texts.push_back(name);
      texts.push_back(json);
    }
    return Digest(texts);
  }

  // Whether the template writes something of `turns`, which it renders as `now`, otherwise once an answer and
  // a message of `role` follow. What it opens an answer with, and does not write before one that is there
  // (<think>), does not count: the next turn finds out.
  bool Fades(const Turns& turns, std::string_view now, const char* role) const {
    const auto later = Render(Joined(turns, {Answer(kAnyAnswer), Question(role)}));
    return later.ok() && CommonPrefix(now, *later) + opening_bytes_ < now.size();
  }

  absl::StatusOr<std::vector<TokenId>> Encode(const std::string& text) const {
    return EncodeRenderedChat(text, engine_, ConversationState::kEmpty);
  }

  // The tokens of `text` as they follow `before`.
  std::optional<std::vector<TokenId>> EncodeBehind(const std::string& before, const std::string& text) const {
    const auto first = Encode(before), all = Encode(before + text);
    if (first.ok() && all.ok()) {
      if (auto rest = Behind(*first, *all)) return rest;
    }
    auto alone = EncodeRenderedChat(text, engine_, ConversationState::kStarted);
    if (!alone.ok()) return std::nullopt;
    return *std::move(alone);
  }

  // What the session holds as the characters of "<|end|>" would be the special token when rendered again.
  bool SpellsSpecialToken(const std::string& answer) const {
    const Tokenizer& tokenizer = engine_.tokenizer();
    const auto ids = tokenizer.Encode(answer, TextPosition::kContinuation, SpecialTokens::kParse);
    return !ids.ok() || absl::c_any_of(*ids, [&](TokenId id) { return tokenizer.IsSpecial(id); });
  }

  const Engine& engine_;
  const ChatVariables variables_;
  const std::optional<std::string> system_;
  Turns question_;  // the system message, if there is one, and a user's
  absl::StatusOr<std::string> prompt_;
  size_t opening_bytes_ = 0;  // at the end of prompt_: not written before an answer that is there
};

v1::ChatPrefix PrefixOf(ChatMatch match) {
  switch (match) {
    case ChatMatch::kTokens:
      return v1::CHAT_PREFIX_CONTINUES;
    case ChatMatch::kText:
      return v1::CHAT_PREFIX_SAME_TEXT;
    case ChatMatch::kUnknown:
      return v1::CHAT_PREFIX_UNCHECKED;
    case ChatMatch::kChanged:
      return v1::CHAT_PREFIX_CHANGED;
  }
  return v1::CHAT_PREFIX_UNCHECKED;
}

// The new messages by themselves, behind whatever the session holds.
absl::StatusOr<ChatInput> RenderAlone(const v1::ChatMessages& chat, const Engine& engine,
                                      const ChatTail& held, ChatMatch match) {
  const Turns messages = ToTurns(chat.messages());
  const auto text = engine.RenderChat(messages, ToVariables(chat), false);
  if (!text.ok()) return text.status();
  auto tokens = EncodeRenderedChat(*text, engine, ConversationState::kStarted);
  if (!tokens.ok()) return tokens.status();
  ChatInput input{.tokens = *std::move(tokens)};
  input.tail = StandIn(chat, engine, held.system ? held.system : SystemOf(messages)).TailBehind(messages);
  const bool begins = held.state == ChatTail::State::kNone && chat.earlier().empty();
  if (begins) return input;
  input.tail.match = match;
  input.prefix = PrefixOf(match);
  return input;
}

// Whether the new messages make the template write an older one otherwise.
bool FadesBefore(const Turns& messages, const ChatTail& held) {
  const bool user = absl::c_any_of(messages, [](const ChatTurn& turn) { return turn.role == "user"; });
  return user ? held.fades_before_user : held.fades_before_tool;
}

}  // namespace

ChatTail BeginChat(const v1::ChatMessages& chat, const Engine& engine) {
  const Turns turns = Joined(ToTurns(chat.earlier()), ToTurns(chat.messages()));
  return StandIn(chat, engine, SystemOf(turns)).TailBehind(turns);
}

absl::StatusOr<ChatInput> ContinueChat(const v1::ChatMessages& chat, const Engine& engine,
                                       const ChatTail& held) {
  if (!held.follows_answer()) {
    return RenderAlone(chat, engine, held, std::max(held.match, ChatMatch::kUnknown));
  }
  const Turns messages = ToTurns(chat.messages());
  const StandIn stand_in(chat, engine, held.system);
  const std::optional<std::string> answer = AnswerIn(held, engine.tokenizer());
  Continuation next = answer ? stand_in.BehindAnswer(held, *answer, messages) : Continuation();
  if (FadesBefore(messages, held)) next.match = ChatMatch::kChanged;
  const ChatMatch match = std::max(held.match, next.match);
  if (!next.tokens) next.tokens = stand_in.BehindAnyAnswer(messages);
  if (!next.tokens) return RenderAlone(chat, engine, held, match);

  ChatInput input{.tokens = *std::move(next.tokens), .prefix = PrefixOf(match)};
  input.replaces_end = held.ended && !input.tokens.empty();
  input.tail = stand_in.TailBehind(stand_in.With(answer ? *answer : kAnyAnswer, messages));
  input.tail.match = std::max(match, input.tail.match);
  input.tail.fades_before_user |= held.fades_before_user;
  input.tail.fades_before_tool |= held.fades_before_tool;
  return input;
}

}  // namespace memgate
