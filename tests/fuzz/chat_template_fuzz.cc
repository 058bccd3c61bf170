// Input: a chat template and, each behind a byte 0, parts of a conversation. A part begins with a letter that
// says what the rest of it is; for a part that needs a message or call, one is made. Compiling and rendering
// must end, within the limits of chat_template.cc, and give valid UTF-8.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/unicode.h"
#include "tests/fuzz/input_parts.h"

namespace memgate {
namespace {

struct Conversation {
  std::vector<ChatTurn> turns;
  ChatRenderOptions options = {true, "<s>", "</s>", 1753600000};

  ChatTurn& Turn() {
    if (turns.empty()) turns.push_back({"user", ""});
    return turns.back();
  }
  ChatToolCall& Call() {
    if (Turn().tool_calls.empty()) Turn().tool_calls.push_back({"", "f", "{}"});
    return Turn().tool_calls.back();
  }

  void Add(char what, std::string text) {
    switch (what) {
      case 'r':  // a message with that role
        turns.push_back({std::move(text), ""});
        break;
      case 'c':
        Turn().content = std::move(text);
        break;
      case 'n':
        Turn().name = std::move(text);
        break;
      case 'i':
        Turn().tool_call_id = std::move(text);
        break;
      case 'f':  // a call of that function
        Turn().tool_calls.push_back({"", std::move(text), "{}"});
        break;
      case 'a':
        Call().arguments = std::move(text);
        break;
      case 'd':
        Call().id = std::move(text);
        break;
      case 't':
        options.variables.tools.push_back(std::move(text));
        break;
      case 'k':
        Turn().reasoning_content = std::move(text);
        break;
      case 'v': {  // a template argument, NAME=JSON
        const size_t equals = std::min(text.find('='), text.size());
        options.variables.arguments[text.substr(0, equals)] = text.substr(std::min(equals + 1, text.size()));
        break;
      }
      case 'g':
        options.add_generation_prompt = false;
        options.now_unix_seconds.reset();
        break;
    }
  }
};

Conversation ReadConversation(std::string_view parts) {
  Conversation conversation;
  if (parts.empty()) {
    conversation.turns = {{"system", "Be brief."}, {"user", " Grüße "}, {"assistant", "<think>x</think>y"}};
  }
  while (!parts.empty()) {
    std::string_view part = TakePart(parts, '\0');
    const auto what = static_cast<char>(TakeByte(part));
    conversation.Add(what, std::string(part));
  }
  return conversation;
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  constexpr size_t kMaxBytes = 9 << 20;  // a little more than chat_template.cc lets small inputs grow to
  std::string_view rest = AsText(data, size);
  const auto compiled = ChatTemplate::Compile(TakePart(rest, '\0'));
  if (!compiled.ok()) return 0;
  const Conversation conversation = ReadConversation(rest);
  const auto text = (*compiled)->Render(conversation.turns, conversation.options);
  if (!text.ok()) return 0;
  Require(CheckUtf8(*text).ok() && text->size() <= kMaxBytes + 64 * size);
  return 0;
}
