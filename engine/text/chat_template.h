// Renders chat messages with the Jinja template that a model ships.
#ifndef MEMGATE_ENGINE_TEXT_CHAT_TEMPLATE_H_
#define MEMGATE_ENGINE_TEXT_CHAT_TEMPLATE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace memgate {

struct ChatTurn {
  std::string role;     // "system", "user", "assistant"
  std::string content;  // UTF-8
};

struct ChatRenderOptions {
  bool add_generation_prompt = true;
  std::string bos_token;  // as text
  std::string eos_token;  // as text
  // What strftime_now formats, in UTC. Without it a template sees no such function; some then name a fixed
  // date, others fail.
  std::optional<int64_t> now_unix_seconds;
};

// A compiled template. Renders as Hugging Face libraries do: trim_blocks and lstrip_blocks on, messages as
// dicts with "role" and "content", tools and documents none, bos_token, eos_token and add_generation_prompt
// from the options, raise_exception, namespace, range and strftime_now as functions. Thread-safe after
// construction.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // INVALID_ARGUMENT with the line for a syntax error; UNIMPLEMENTED with the line for a construct outside
  // the supported subset of Jinja (docs/formats.md).
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Compile(std::string_view source);
  // INVALID_ARGUMENT with the line for run-time errors, raise_exception included. Work is bounded: a template
  // that does not end within a fixed number of steps or bytes fails with RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<std::string> Render(const std::vector<ChatTurn>& messages,
                                             const ChatRenderOptions& options) const = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_CHAT_TEMPLATE_H_
