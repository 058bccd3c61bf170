#include "server/chat_continuation.h"

#include <optional>
#include <string_view>
#include <utility>

#include "absl/algorithm/container.h"
#include "server/generate_request.h"

namespace memgate {
namespace {

// Stands for an answer that is not known. No template has a reason to change it.
constexpr const char* kAnswer = "answer-that-stands-in-0f7e3a";

class StandIn {
 public:
  StandIn(const v1::ChatMessages& chat, const Engine& engine)
      : engine_(engine),
        tools_(chat.tools().begin(), chat.tools().end()),
        messages_(ToTurns(chat.messages())) {}

  absl::StatusOr<std::string> RenderAlone() const { return engine_.RenderChat(messages_, tools_, false); }

  // CONTINUES with what follows `answer` if the template renders it as it is behind its prompt, CHANGED
  // without a text if it does not, UNCHECKED if it does not render such a conversation.
  ChatContinuation Behind(const std::string& answer) const {
    const auto prompt = engine_.RenderChat({User()}, tools_, true);
    const auto whole = Render(answer);
    if (!prompt.ok() || !whole.ok()) return {.text = "", .prefix = v1::CHAT_PREFIX_UNCHECKED};
    const std::string before = *prompt + answer;
    if (!whole->starts_with(before) || SpellsSpecialToken(answer)) {
      return {.text = "", .prefix = v1::CHAT_PREFIX_CHANGED};
    }
    return {.text = whole->substr(before.size()), .prefix = v1::CHAT_PREFIX_CONTINUES};
  }

  // What follows an answer, wherever the template puts it; nothing if it is nowhere.
  std::optional<std::string> RestAnywhere() const {
    const auto whole = Render(kAnswer);
    const size_t at = whole.ok() ? whole->find(kAnswer) : std::string::npos;
    if (at == std::string::npos) return std::nullopt;
    return whole->substr(at + std::string_view(kAnswer).size());
  }

 private:
  // What the session holds as the characters of "<|end|>" would be the special token when rendered again.
  bool SpellsSpecialToken(const std::string& answer) const {
    const Tokenizer& tokenizer = engine_.tokenizer();
    const auto ids = tokenizer.Encode(answer, TextPosition::kContinuation, SpecialTokens::kParse);
    return !ids.ok() || absl::c_any_of(*ids, [&](TokenId id) { return tokenizer.IsSpecial(id); });
  }

  static ChatTurn User() { return {.role = "user", .content = "?"}; }

  absl::StatusOr<std::string> Render(const std::string& answer) const {
    std::vector<ChatTurn> turns = {User(), {.role = "assistant", .content = answer}};
    turns.insert(turns.end(), messages_.begin(), messages_.end());
    return engine_.RenderChat(turns, tools_, true);
  }

  const Engine& engine_;
  const std::vector<std::string> tools_;
  const std::vector<ChatTurn> messages_;
};

}  // namespace

absl::StatusOr<ChatContinuation> ContinueChat(const v1::ChatMessages& chat, const Engine& engine,
                                              const ChatTail& tail) {
  const StandIn stand_in(chat, engine);
  ChatContinuation continuation;
  if (tail.after_answer && tail.whole) continuation = stand_in.Behind(tail.answer);
  if (continuation.prefix != v1::CHAT_PREFIX_CONTINUES) {
    std::optional<std::string> rest = tail.after_answer ? stand_in.RestAnywhere() : std::nullopt;
    if (!rest) {
      absl::StatusOr<std::string> alone = stand_in.RenderAlone();
      if (!alone.ok()) return alone.status();
      continuation.text = *std::move(alone);
      return continuation;
    }
    continuation.text = *std::move(rest);
  }
  if (tail.end_token != kNoToken) {
    const std::string_view end = engine.tokenizer().Piece(tail.end_token);
    if (!end.empty() && continuation.text.starts_with(end)) continuation.text.erase(0, end.size());
  }
  return continuation;
}

}  // namespace memgate
