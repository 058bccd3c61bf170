#include "engine/text/chat_templates.h"

namespace memgate {

ChatTemplates::ChatTemplates(const std::map<std::string, std::string>& sources) {
  const auto compile = [&](const char* name, Compiled& compiled) {
    const auto source = sources.find(name);
    if (source != sources.end()) compiled = ChatTemplate::Compile(source->second);
  };
  compile(kDefaultTemplate, default_);
  compile(kToolTemplate, tool_use_);
}

absl::StatusOr<const ChatTemplate*> ChatTemplates::For(const ChatVariables& variables) const {
  const bool for_tools = !variables.tools.empty() && !absl::IsNotFound(tool_use_.status());
  const Compiled& compiled = for_tools ? tool_use_ : default_;
  if (!compiled.ok()) return compiled.status();
  return compiled->get();
}

}  // namespace memgate
