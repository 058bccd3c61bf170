#include "engine/text/chat_template.h"

#include <utility>

#include "engine/text/jinja_evaluator.h"
#include "engine/text/jinja_parser.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

using jinja::Dict;
using jinja::List;
using jinja::Value;

// Published templates take some tens of steps per message, read each a few times (64 bytes a step) and copy a
// conversation a few times.
constexpr int64_t kStepsPerMessage = 10'000;
constexpr int64_t kMinSteps = 1'000'000;
constexpr int64_t kCopiesOfInput = 32;
constexpr int64_t kMinBytes = 8 << 20;

class JinjaChatTemplate : public ChatTemplate {
 public:
  explicit JinjaChatTemplate(jinja::Body body) : body_(std::move(body)) {}

  absl::StatusOr<std::string> Render(const std::vector<ChatTurn>& messages,
                                     const ChatRenderOptions& options) const override {
    List list;
    size_t input_bytes = 0;
    for (size_t i = 0; i < messages.size(); ++i) {
      const ChatTurn& turn = messages[i];
      for (const auto& [field, text] : {std::pair{"role", &turn.role}, {"content", &turn.content}}) {
        if (absl::Status status = CheckUtf8(*text); !status.ok()) {
          return absl::InvalidArgumentError(
              Concat("message ", i, ": ", field, ": ", ToStdView(status.message())));
        }
        input_bytes += text->size();
      }
      list.push_back(
          Value::FromDict({{"role", Value::String(turn.role)}, {"content", Value::String(turn.content)}}));
    }
    // tools and documents are none rather than undefined, as templates find them elsewhere.
    Dict globals = {{"messages", Value::FromList(std::move(list))},
                    {"tools", Value::NoneValue()},
                    {"documents", Value::NoneValue()},
                    {"add_generation_prompt", Value::Bool(options.add_generation_prompt)},
                    {"bos_token", Value::String(options.bos_token)},
                    {"eos_token", Value::String(options.eos_token)}};
    const jinja::Context::Limits limits = {kMinSteps +
                                               kStepsPerMessage * static_cast<int64_t>(messages.size()) +
                                               static_cast<int64_t>(input_bytes),
                                           kMinBytes + kCopiesOfInput * static_cast<int64_t>(input_bytes)};
    return jinja::Evaluator(std::move(globals), options.now_unix_seconds, limits).Render(body_);
  }

 private:
  const jinja::Body body_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Compile(std::string_view source) {
  absl::StatusOr<jinja::Body> body = jinja::ParseTemplate(source);
  if (!body.ok()) return body.status();
  return std::make_unique<JinjaChatTemplate>(*std::move(body));
}

}  // namespace memgate
