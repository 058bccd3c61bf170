#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/commands/answer.h"
#include "client/commands/command.h"
#include "client/commands/connection.h"
#include "client/commands/interrupt.h"
#include "client/message_json.h"
#include "client/utf8.h"

namespace memgate {
namespace {

using nlohmann::ordered_json;

// The text of the file that `option` names; - is standard input.
absl::StatusOr<std::string> ReadTextFile(const char* option, const std::string& path, std::istream& in) {
  std::ostringstream text;
  if (path == "-") {
    text << in.rdbuf();
    return text.str();
  }
  std::ifstream file(path, std::ios::binary);
  // A folder can be opened, but not read, which makes `file` bad. An empty file is no error, though `<<`
  // fails on it.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(absl::StrCat("cannot read --", option, " ", path));
  }
  return text.str();
}

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

// Standard input can be read once only.
absl::Status CheckStandardInput(const Arguments& arguments) {
  std::string first;
  for (const char* option : {"prompt-file", "json-schema", "grammar"}) {
    if (!arguments.Has(option) || arguments.Text(option) != "-") continue;
    if (!first.empty()) {
      return UsageError(absl::StrCat("--", first, " and --", option, " cannot both read standard input (-)"));
    }
    first = option;
  }
  return absl::OkStatus();
}

absl::Status ReadFormat(const Invocation& invocation, v1::GenerateRequest* request) {
  const Arguments& arguments = invocation.arguments;
  if (arguments.Has("json-object") + arguments.Has("json-schema") + arguments.Has("grammar") > 1) {
    return UsageError("give one of --json-object, --json-schema and --grammar");
  }
  if (arguments.Has("json-object")) request->mutable_response_format()->set_json_object(true);
  for (const char* option : {"json-schema", "grammar"}) {
    if (!arguments.Has(option)) continue;
    auto text = ReadTextFile(option, arguments.Text(option), invocation.terminal.in);
    if (!text.ok()) return text.status();
    if (auto s = CheckUtf8(absl::StrCat("--", option), *text); !s.ok()) return UsageError(s.message());
    v1::ResponseFormat* format = request->mutable_response_format();
    *(option == absl::string_view("grammar") ? format->mutable_grammar() : format->mutable_json_schema()) =
        *std::move(text);
  }
  return absl::OkStatus();
}

absl::Status ReadInput(const Invocation& invocation, v1::GenerateRequest* request) {
  const Arguments& arguments = invocation.arguments;
  const bool has_positional = !arguments.positional().empty();
  if (has_positional + arguments.Has("prompt-file") + arguments.Has("tokens") > 1) {
    return UsageError("give the prompt once: as an argument, with --prompt-file or with --tokens");
  }
  if (arguments.Has("tokens")) {
    for (const absl::string_view word : absl::StrSplit(arguments.Text("tokens"), ',')) {
      int32_t id = 0;
      if (!absl::SimpleAtoi(word, &id))
        return UsageError("--tokens takes ids separated by commas, e.g. 12,7");
      request->mutable_tokens()->add_ids(id);
    }
    return absl::OkStatus();
  }
  std::string prompt;
  if (arguments.Has("prompt-file")) {
    auto text = ReadTextFile("prompt-file", arguments.Text("prompt-file"), invocation.terminal.in);
    if (!text.ok()) return text.status();
    prompt = *std::move(text);
  } else if (has_positional) {
    auto text = invocation.Positional("prompt (quote it if it has blanks)");
    if (!text.ok()) return text.status();
    prompt = *std::move(text);
  } else if (arguments.Has("session")) {
    return absl::OkStatus();  // goes on from where the session stands
  } else {
    return UsageError("give a prompt, --prompt-file or --tokens, or a --session to continue");
  }
  for (const auto& [what, text] :
       {std::pair("the prompt", prompt), std::pair("--system", arguments.Text("system"))}) {
    if (const absl::Status status = CheckUtf8(what, text); !status.ok()) return UsageError(status.message());
  }
  if (!arguments.Has("chat") && !arguments.Has("system")) {
    request->set_prompt(prompt);
    return absl::OkStatus();
  }
  const auto add = [&](const std::string& role, const std::string& content) {
    v1::ChatMessage* message = request->mutable_chat()->add_messages();
    message->set_role(role);
    message->set_content(content);
  };
  if (arguments.Has("system")) add("system", arguments.Text("system"));
  add("user", prompt);
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
  if (auto s = CheckStandardInput(arguments); !s.ok()) return s;
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
  return {"generate",
          "[PROMPT]",
          "Answer a prompt, in a session or without one",
          {{"session", "NAME", "add the prompt to this session (default: leave nothing behind)"},
           {"prompt-file", "FILE", "read the prompt from a file, - for standard input"},
           {"tokens", "IDS", "raw token ids instead of text, e.g. 12,7,400"},
           {"chat", "", "send the prompt as a chat message of the user"},
           {"system", "TEXT", "a system message before it (implies --chat)"},
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
           {"request-id", "ID", "repeat a call safely"}},
          RunGenerate};
}

}  // namespace memgate
