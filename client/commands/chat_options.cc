#include "client/commands/chat_options.h"

#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands/input_file.h"

namespace memgate {
namespace {

using nlohmann::ordered_json;

// The JSON list in the file that `option` names.
absl::StatusOr<ordered_json> ReadList(const Invocation& invocation, const char* option) {
  const auto text = ReadInputFile(invocation, option);
  if (!text.ok()) return text.status();
  ordered_json list = ordered_json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return UsageError(absl::StrCat("--", option, " takes a file with a JSON list"));
  return list;
}

absl::Status ReadTools(const Invocation& invocation, v1::ChatMessages* chat) {
  const auto list = ReadList(invocation, "tools");
  if (!list.ok()) return list.status();
  for (const ordered_json& tool : *list) chat->add_tools(tool.dump());
  return absl::OkStatus();
}

absl::Status ReadEarlier(const Invocation& invocation, v1::ChatMessages* chat) {
  auto list = ReadList(invocation, "earlier");
  if (!list.ok()) return list.status();
  ordered_json wrapped = ordered_json::object();
  wrapped["earlier"] = *std::move(list);
  v1::ChatMessages read;
  const auto status = google::protobuf::util::JsonStringToMessage(wrapped.dump(), &read);
  if (!status.ok()) {
    return UsageError(absl::StrCat("--earlier: no list of messages: ", std::string(status.message())));
  }
  chat->mutable_earlier()->Swap(read.mutable_earlier());
  return absl::OkStatus();
}

absl::Status ReadArguments(const Arguments& arguments, v1::ChatMessages* chat) {
  for (const std::string& entry : arguments.All("template-argument")) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    const auto& [name, json] = parts;
    if (name.empty() || !ordered_json::accept(json)) {
      return UsageError(
          absl::StrCat("--template-argument takes NAME=JSON, such as enable_thinking=false "
                       "or style='\"brief\"', not \"",
                       entry, "\""));
    }
    (*chat->mutable_template_arguments())[name] = json;
  }
  return absl::OkStatus();
}

absl::Status ReadOnChangedPrefix(const Arguments& arguments, v1::ChatMessages* chat) {
  const std::string choice = arguments.Text("on-changed-prefix");
  for (const auto& [name, value] :
       {std::pair("report", v1::ON_CHANGED_PREFIX_REPORT), std::pair("refuse", v1::ON_CHANGED_PREFIX_REFUSE),
        std::pair("rebuild", v1::ON_CHANGED_PREFIX_REBUILD)}) {
    if (choice != name) continue;
    chat->set_on_changed_prefix(value);
    if (value != v1::ON_CHANGED_PREFIX_REBUILD || arguments.Has("earlier")) return absl::OkStatus();
    return UsageError("--on-changed-prefix rebuild needs the conversation so far: --earlier FILE");
  }
  return UsageError(
      absl::StrCat("--on-changed-prefix takes report, refuse or rebuild, not \"", choice, "\""));
}

}  // namespace

std::vector<OptionSpec> TemplateOptions() {
  return {{"tools", "FILE", "functions that the model may call: a JSON list"},
          {"template-argument", "NAME=JSON", "a variable of the model's chat template; may be repeated"}};
}

std::vector<OptionSpec> PrefixOptions() {
  return {{"on-changed-prefix", "CHOICE", "report, refuse or rebuild where the session holds other text"},
          {"earlier", "FILE", "to rebuild: the conversation so far, a JSON list of messages"}};
}

std::vector<OptionSpec> Joined(const std::vector<std::vector<OptionSpec>>& lists) {
  std::vector<OptionSpec> all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

std::optional<std::string> FirstGiven(const Arguments& arguments, const std::vector<OptionSpec>& options) {
  for (const OptionSpec& option : options) {
    if (arguments.Has(option.name)) return option.name;
  }
  return std::nullopt;
}

absl::Status ReadChatOptions(const Invocation& invocation, v1::ChatMessages* chat) {
  const Arguments& arguments = invocation.arguments;
  absl::Status status = ReadArguments(arguments, chat);
  if (status.ok() && arguments.Has("tools")) status = ReadTools(invocation, chat);
  if (status.ok() && arguments.Has("earlier")) status = ReadEarlier(invocation, chat);
  if (status.ok() && arguments.Has("on-changed-prefix")) status = ReadOnChangedPrefix(arguments, chat);
  return status;
}

}  // namespace memgate
