#include "engine/text/chat_template.h"

#include <utility>

#include "engine/text/jinja_evaluator.h"
#include "engine/text/jinja_json.h"
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

// Reads what a template is given, and counts its bytes.
class InputReader {
 public:
  size_t bytes() const { return bytes_; }

  absl::StatusOr<Value> Text(const std::string& text, std::string_view what) {
    if (absl::Status status = CheckUtf8(text); !status.ok()) {
      return absl::InvalidArgumentError(Concat(what, ": ", ToStdView(status.message())));
    }
    bytes_ += text.size();
    return Value::String(text);
  }

  absl::StatusOr<Value> Json(const std::string& text, std::string_view what) {
    absl::StatusOr<Value> value = jinja::ValueFromJson(text);
    if (!value.ok())
      return absl::InvalidArgumentError(Concat(what, ": ", ToStdView(value.status().message())));
    bytes_ += text.size();
    return value;
  }

  absl::StatusOr<Value> ToolCall(const ChatToolCall& call, std::string_view where) {
    absl::StatusOr<Value> name = Text(call.name, Concat(where, ": name"));
    if (!name.ok()) return name;
    absl::StatusOr<Value> arguments = Json(call.arguments, Concat(where, ": arguments"));
    if (!arguments.ok()) return arguments;
    Dict dict;
    if (!call.id.empty()) {
      absl::StatusOr<Value> id = Text(call.id, Concat(where, ": id"));
      if (!id.ok()) return id;
      dict.emplace_back("id", *id);
    }
    dict.emplace_back("type", Value::String("function"));
    dict.emplace_back("function", Value::FromDict({{"name", *name}, {"arguments", *arguments}}));
    return Value::FromDict(std::move(dict));
  }

  absl::StatusOr<Value> Message(const ChatTurn& turn, std::string_view where) {
    Dict dict;
    const auto add = [&](const char* field, const std::string& text) {
      absl::StatusOr<Value> value = Text(text, Concat(where, ": ", field));
      if (value.ok()) dict.emplace_back(field, *value);
      return value.status();
    };
    if (absl::Status s = add("role", turn.role); !s.ok()) return s;
    if (absl::Status s = add("content", turn.content); !s.ok()) return s;
    List calls;
    for (size_t i = 0; i < turn.tool_calls.size(); ++i) {
      absl::StatusOr<Value> call = ToolCall(turn.tool_calls[i], Concat(where, ": tool call ", i));
      if (!call.ok()) return call;
      calls.push_back(*call);
    }
    if (!calls.empty()) dict.emplace_back("tool_calls", Value::FromList(std::move(calls)));
    for (const auto& [field, text] : {std::pair{"name", &turn.name},
                                      {"tool_call_id", &turn.tool_call_id},
                                      {"reasoning_content", &turn.reasoning_content}}) {
      if (text->empty()) continue;
      if (absl::Status s = add(field, *text); !s.ok()) return s;
    }
    return Value::FromDict(std::move(dict));
  }

  // What the template finds. tools and documents are none rather than undefined, as templates find them
  // elsewhere.
  absl::StatusOr<Dict> Globals(const std::vector<ChatTurn>& messages, const ChatRenderOptions& options) {
    List turns;
    for (size_t i = 0; i < messages.size(); ++i) {
      absl::StatusOr<Value> message = Message(messages[i], Concat("message ", i));
      if (!message.ok()) return message.status();
      turns.push_back(*std::move(message));
    }
    List tools;
    for (size_t i = 0; i < options.variables.tools.size(); ++i) {
      absl::StatusOr<Value> tool = Json(options.variables.tools[i], Concat("tool ", i));
      if (!tool.ok()) return tool.status();
      tools.push_back(*std::move(tool));
    }
    Dict globals = {{"messages", Value::FromList(std::move(turns))},
                    {"tools", tools.empty() ? Value::NoneValue() : Value::FromList(std::move(tools))},
                    {"add_generation_prompt", Value::Bool(options.add_generation_prompt)},
                    {"bos_token", Value::String(options.bos_token)},
                    {"eos_token", Value::String(options.eos_token)}};
    for (const auto& [name, json] : options.variables.arguments) {
      absl::StatusOr<Value> value = Json(json, Concat("template argument ", Quoted(name)));
      if (!value.ok()) return value.status();
      if (jinja::FindKey(globals, name) == nullptr) globals.emplace_back(name, *std::move(value));
    }
    if (jinja::FindKey(globals, "documents") == nullptr)
      globals.emplace_back("documents", Value::NoneValue());
    return globals;
  }

 private:
  size_t bytes_ = 0;
};

class JinjaChatTemplate : public ChatTemplate {
 public:
  explicit JinjaChatTemplate(jinja::Body body) : body_(std::move(body)) {}

  absl::StatusOr<std::string> Render(const std::vector<ChatTurn>& messages,
                                     const ChatRenderOptions& options) const override {
    InputReader reader;
    absl::StatusOr<Dict> globals = reader.Globals(messages, options);
    if (!globals.ok()) return globals.status();
    const ChatVariables& variables = options.variables;
    const auto items =
        static_cast<int64_t>(messages.size() + variables.tools.size() + variables.arguments.size());
    const auto input_bytes = static_cast<int64_t>(reader.bytes());
    const jinja::Context::Limits limits = {kMinSteps + kStepsPerMessage * items + input_bytes,
                                           kMinBytes + kCopiesOfInput * input_bytes};
    return jinja::Evaluator(*std::move(globals), options.now_unix_seconds, limits).Render(body_);
  }

 private:
  const jinja::Body body_;
};

}  // namespace

std::optional<size_t> EndOfAnyAnswer(std::string_view rendered) {
  const size_t begin = rendered.find(kAnyAnswer);
  if (begin == std::string_view::npos) return std::nullopt;
  return begin + kAnyAnswer.size();
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Compile(std::string_view source) {
  absl::StatusOr<jinja::Body> body = jinja::ParseTemplate(source);
  if (!body.ok()) return body.status();
  return std::make_unique<JinjaChatTemplate>(*std::move(body));
}

}  // namespace memgate
