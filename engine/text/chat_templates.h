// The chat templates of a model, which its files may give several of by name.
#ifndef MEMGATE_ENGINE_TEXT_CHAT_TEMPLATES_H_
#define MEMGATE_ENGINE_TEXT_CHAT_TEMPLATES_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/chat_template.h"

namespace memgate {

// The template of a model that has only one.
inline constexpr char kDefaultTemplate[] = "default";
// Renders conversations with tools, where a model has it beside the default one.
inline constexpr char kToolTemplate[] = "tool_use";

// Compiled. Thread-safe after construction.
class ChatTemplates {
 public:
  ChatTemplates() = default;
  // Whether a template of this name renders anything: those of the two names above do.
  static bool Uses(std::string_view name) { return name == kDefaultTemplate || name == kToolTemplate; }
  // The sources by name.
  explicit ChatTemplates(const std::map<std::string, std::string>& sources);

  // Which template renders a conversation with these variables: kToolTemplate if there are tools and the
  // model has it, else kDefaultTemplate, as Hugging Face's libraries choose. NOT_FOUND if the model does not
  // have that one; an error of ChatTemplate::Compile if it cannot be used. Lives as long as this object.
  absl::StatusOr<const ChatTemplate*> For(const ChatVariables& variables) const;

 private:
  using Compiled = absl::StatusOr<std::unique_ptr<ChatTemplate>>;

  Compiled default_ = absl::NotFoundError("it ships no chat template");
  Compiled tool_use_ = absl::NotFoundError("it ships no chat template for tools");
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_CHAT_TEMPLATES_H_
