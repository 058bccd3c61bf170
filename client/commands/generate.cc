#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/commands/answer.h"
#include "client/commands/chat_options.h"
#include "client/commands/command.h"
#include "client/commands/connection.h"
#include "client/commands/input_file.h"
#include "client/commands/interrupt.h"
#include "client/message_json.h"
#include "client/utf8.h"

namespace memgate {
namespace {

using nlohmann::ordered_json;

absl::Status ReadSampling(const Arguments& arguments, v1::SamplingOptions* sampling) {
  OptionReader read(arguments);
  read.Number("temperature", [&](float v) { sampling->set_temperature(v); });
  read.Int32("top-k", [&](int32_t v) { sampling->set_top_k(v); });
  read.Number("top-p", [&](float v) { sampling->set_top_p(v); });
  read.Number("min-p", [&](float v) { sampling->set_min_p(v); });
  read.Uint64("seed", [&](uint64_t v) { sampling->set_seed(v); });
  read.Number("repetition-penalty", [&](float v) { sampling->set_repetition_penalty(v); });
  read.Number("frequency-penalty", [&](float v) { sampling->set_frequency_penalty(v); });
  read.Number("presence-penalty", [&](float v) { sampling->set_presence_penalty(v); });
  if (!read.status().ok()) return read.status();
  for (const std::string& entry : arguments.All("logit-bias")) {
    const std::vector<std::string> parts = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    int32_t token = 0;
    float bias = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &token) || !absl::SimpleAtof(parts[1], &bias)) {
      return UsageError(absl::StrCat("--logit-bias takes TOKEN=BIAS, not \"", entry, "\""));
    }
    (*sampling->mutable_logit_bias())[token] = bias;
  }
  return absl::OkStatus();
}

absl::Status ReadPath(const Arguments& arguments, v1::GenerateRequest* request) {
  if (!arguments.Has("path")) return absl::OkStatus();
  const std::string path = arguments.Text("path");
  for (const auto& [name, value] :
       {std::pair("auto", v1::PATH_PREFERENCE_AUTO), std::pair("exact", v1::PATH_PREFERENCE_EXACT),
        std::pair("gated", v1::PATH_PREFERENCE_GATED)}) {
    if (path == name) {
      request->set_path_preference(value);
      return absl::OkStatus();
    }
  }
  return UsageError(absl::StrCat("--path takes auto, exact or gated, not \"", path, "\""));
}

absl::Status ReadFormat(const Invocation& invocation, v1::GenerateRequest* request) {
  const Arguments& arguments = invocation.arguments;
  if (arguments.Has("json-object") + arguments.Has("json-schema") + arguments.Has("grammar") > 1) {
    return UsageError("give one of --json-object, --json-schema and --grammar");
  }
  if (arguments.Has("json-object")) request->mutable_response_format()->set_json_object(true);
  for (const char* option : {"json-schema", "grammar"}) {
    if (!arguments.Has(option)) continue;
    auto text = ReadInputFile(invocation, option);
    if (!text.ok()) return text.status();
    if (auto s = CheckUtf8(absl::StrCat("--", option), *text); !s.ok()) return UsageError(s.message());
    v1::ResponseFormat* format = request->mutable_response_format();
    *(option == absl::string_view("grammar") ? format->mutable_grammar() : format->mutable_json_schema()) =
        *std::move(text);
  }
  return absl::OkStatus();
}

absl::Status ReadTokens(const std::string& ids, v1::TokenIds* tokens) {
  for (const absl::string_view word : absl::StrSplit(ids, ',')) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(word, &id)) return UsageError("--tokens takes ids separated by commas, e.g. 12,7");
    tokens->add_ids(id);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadPrompt(const Invocation& invocation) {
  auto text = invocation.arguments.Has("prompt-file")
                  ? ReadInputFile(invocation, "prompt-file")
                  : invocation.Positional("prompt (quote it if it has blanks)");
  if (!text.ok()) return text;
  if (const absl::Status status = CheckUtf8("the prompt", *text); !status.ok()) {
    return UsageError(status.message());
  }
  return text;
}

// What makes a chat message of the prompt.
std::vector<OptionSpec> MessageOptions() {
  return Joined({{{"chat", "", "send the prompt as a chat message of the user; so do the next five"},
                  {"system", "TEXT", "a system message before it"}},
                 TemplateOptions(),
                 PrefixOptions()});
}

absl::Status ReadChat(const Invocation& invocation, const std::string& prompt, v1::ChatMessages* chat) {
  const std::string system = invocation.arguments.Text("system");
  if (const auto status = CheckUtf8("--system", system); !status.ok()) return UsageError(status.message());
  const auto add = [&](const std::string& role, const std::string& content) {
    v1::ChatMessage* message = chat->add_messages();
    message->set_role(role);
    message->set_content(content);
  };
  if (invocation.arguments.Has("system")) add("system", system);
  add("user", prompt);
  return ReadChatOptions(invocation, chat);
}

absl::Status ReadInput(const Invocation& invocation, v1::GenerateRequest* request) {
  const Arguments& arguments = invocation.arguments;
  const bool has_positional = !arguments.positional().empty();
  const bool has_prompt = has_positional || arguments.Has("prompt-file");
  if (has_positional + arguments.Has("prompt-file") + arguments.Has("tokens") > 1) {
    return UsageError("give the prompt once: as an argument, with --prompt-file or with --tokens");
  }
  const auto of_message = FirstGiven(arguments, MessageOptions());
  if (of_message && (arguments.Has("tokens") || !has_prompt)) {
    return UsageError(absl::StrCat("--", *of_message, " goes with a prompt"));
  }
  if (arguments.Has("tokens")) return ReadTokens(arguments.Text("tokens"), request->mutable_tokens());
  if (!has_prompt && arguments.Has("session")) return absl::OkStatus();  // goes on from where it stands
  if (!has_prompt) return UsageError("give a prompt, --prompt-file or --tokens, or a --session to continue");
  const auto prompt = ReadPrompt(invocation);
  if (!prompt.ok()) return prompt.status();
  if (of_message) return ReadChat(invocation, *prompt, request->mutable_chat());
  request->set_prompt(*prompt);
  return absl::OkStatus();
}

absl::StatusOr<v1::GenerateRequest> ReadRequest(const Invocation& invocation) {
  const Arguments& arguments = invocation.arguments;
  v1::GenerateRequest request;
  request.set_session(SessionName(arguments.Text("session")));
  request.set_ignore_eos(arguments.Has("ignore-eos"));
  request.set_request_id(arguments.Text("request-id"));
  for (const std::string& stop : arguments.All("stop")) request.add_stop(stop);
  OptionReader read(arguments);
  read.Int32("max-tokens", [&](int32_t v) { request.set_max_tokens(v); });
  read.Int32("logprobs", [&](int32_t v) { request.set_logprobs(v); });
  if (!read.status().ok()) return read.status();
  auto once = CheckStandardInput(arguments, {"prompt-file", "json-schema", "grammar", "tools", "earlier"});
  if (!once.ok()) return once;
  for (const absl::Status& status :
       {ReadInput(invocation, &request), ReadFormat(invocation, &request), ReadPath(arguments, &request),
        ReadSampling(arguments, request.mutable_sampling())}) {
    if (!status.ok()) return status;
  }
  return request;
}

// {"event": "route", ...}, {"event": "delta", ...}..., {"event": "done", "text": the whole answer, ...}.
GenerateCallbacks JsonLines(const Invocation& invocation, std::string* text) {
  const auto print = [&invocation](const char* event, ordered_json fields) {
    ordered_json line = {{"event", event}};
    line.update(fields);
    invocation.PrintJson(line);
  };
  return {.on_route = [=](const v1::RouteInfo& route) { print("route", ToJson(route)); },
          .on_delta =
              [=](const v1::TextDelta& delta) {
                *text += delta.text();
                print("delta", ToJson(delta));
              },
          .on_done =
              [=](const v1::GenerateDone& done) {
                ordered_json fields = {{"text", *text}};
                fields.update(ToJson(done));
                print("done", fields);
              }};
}

absl::Status RunGenerate(const Invocation& invocation) {
  auto request = ReadRequest(invocation);
  if (!request.ok()) return request.status();
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();

  Cancellation cancellation;
  const ScopedInterrupt on_interrupt([&] { cancellation.Cancel(); });
  if (invocation.json) {
    std::string text;
    return (*client)->Generate(*request, JsonLines(invocation, &text), &cancellation);
  }
  return PrintAnswer(**client, *request, invocation.terminal, &cancellation);
}

}  // namespace

Command GenerateCommand() {
  const std::vector<OptionSpec> input = {
      {"session", "NAME", "add the prompt to this session (default: leave nothing behind)"},
      {"prompt-file", "FILE", "read the prompt from a file, - for standard input"},
      {"tokens", "IDS", "raw token ids instead of text, e.g. 12,7,400"}};
  const std::vector<OptionSpec> output = {
      {"max-tokens", "N", "generate at most N tokens (default 256)"},
      {"stop", "TEXT", "end before this text; may be repeated"},
      {"ignore-eos", "", "go on at an end-of-sequence token"},
      {"json-object", "", "answer with a JSON object"},
      {"json-schema", "FILE", "answer with JSON that is valid against this schema"},
      {"grammar", "FILE", "answer with a text of this grammar (GBNF)"},
      {"path", "PATH", "auto, exact or gated attention (default auto)"},
      {"temperature", "X", "0 = always the likeliest token (default: the model's)"},
      {"top-k", "N", "choose among the N likeliest tokens"},
      {"top-p", "X", "choose among the likeliest that reach this probability together"},
      {"min-p", "X", "drop tokens below X times the likeliest one's probability"},
      {"seed", "N", "repeat a random answer"},
      {"repetition-penalty", "X", "make tokens that were seen less likely; 1 = off"},
      {"frequency-penalty", "X", "the same, per occurrence in the answer"},
      {"presence-penalty", "X", "the same, once per token of the answer"},
      {"logit-bias", "TOKEN=BIAS", "add to a token's logit; may be repeated"},
      {"logprobs", "N", "with --json: log-probabilities of N alternatives"},
      {"request-id", "ID", "repeat a call safely"}};
  return {"generate", "[PROMPT]", "Answer a prompt, in a session or without one",
          Joined({input, MessageOptions(), output}), RunGenerate};
}

}  // namespace memgate
