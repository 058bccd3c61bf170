// Renders chat messages with the Jinja template that a model ships.
#ifndef MEMGATE_ENGINE_TEXT_CHAT_TEMPLATE_H_
#define MEMGATE_ENGINE_TEXT_CHAT_TEMPLATE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace memgate {

// A function that an assistant's message calls.
struct ChatToolCall {
  std::string id;         // empty = the call has none
  std::string name;       // of the function
  std::string arguments;  // JSON: what the template finds, an object or a string, as it wants them
};

// Strings are UTF-8.
struct ChatTurn {
  std::string role;  // "system", "user", "assistant", "tool", or what else the template knows
  std::string content;
  std::vector<ChatToolCall> tool_calls = {};  // of an assistant
  std::string name = {};                      // of the tool that answers; empty = not said
  std::string tool_call_id = {};              // of the call that it answers; empty = not said
  std::string reasoning_content = {};         // of an assistant, before its answer; empty = not said
};

// What an assistant says where it does not matter: no template has a reason to change it.
inline constexpr std::string_view kAnyAnswer = "answer-that-stands-in-0f7e3a";
// Where kAnyAnswer ends in `rendered`; nothing if it is not there.
std::optional<size_t> EndOfAnyAnswer(std::string_view rendered);

// What a template finds beside the messages.
struct ChatVariables {
  // `tools`: each one JSON. None at all is none, not an empty list.
  std::vector<std::string> tools = {};
  // Further variables by name, each value JSON, such as {"enable_thinking", "false"}. One with the name of
  // what the options or messages say is not seen; one with the name of a function hides it.
  std::map<std::string, std::string> arguments = {};
};

struct ChatRenderOptions {
  bool add_generation_prompt = true;
  std::string bos_token;  // as text
  std::string eos_token;  // as text
  // What strftime_now formats, in UTC. Without it a template sees no such function; some then name a fixed
  // date, others fail.
  std::optional<int64_t> now_unix_seconds;
  ChatVariables variables = {};
};

// A compiled template. Renders as Hugging Face libraries do: trim_blocks and lstrip_blocks on, messages as
// dicts with "role" and "content", and "tool_calls", "name", "tool_call_id" and "reasoning_content" where
// they are set; a call is {"type": "function", "id", "function": {"name", "arguments"}}; documents none
// unless it is an argument; tools, arguments, bos_token, eos_token and add_generation_prompt from the
// options; raise_exception, namespace, range and strftime_now as functions. Thread-safe after construction.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // INVALID_ARGUMENT with the line for a syntax error; UNIMPLEMENTED with the line for a construct outside
  // the supported subset of Jinja (docs/formats.md).
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Compile(std::string_view source);
  // INVALID_ARGUMENT with the line for run-time errors, raise_exception included, and with the place of text
  // that is not UTF-8, or tools, their arguments or those of the template that are not JSON. Work is bounded:
  // a template that does not end within a fixed number of steps or bytes fails with RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<std::string> Render(const std::vector<ChatTurn>& messages,
                                             const ChatRenderOptions& options) const = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_CHAT_TEMPLATE_H_
