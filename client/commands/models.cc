#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/commands/connection.h"
#include "client/commands/text.h"
#include "client/message_json.h"

namespace memgate {
namespace {

std::string Describe(const v1::Model& model) {
  std::string text = absl::StrCat(
      model.name(), ": ", model.architecture(), ", ", Grouped(model.parameters()), " parameters, ",
      HumanBytes(model.weight_bytes()), " of ", model.weight_format(), " weights\n", model.layers(),
      " layers, width ", model.hidden_size(), ", ", model.attention_heads(), " heads (", model.kv_heads(),
      " KV, dimension ", model.head_dim(), "), vocabulary ", Grouped(model.vocabulary_size()),
      ", trained context ", Grouped(model.max_position()),
      " tokens\nfull KV cache: ", HumanBytes(model.full_kv_bytes_per_token()), " of ", model.kv_format(),
      " per token; chat template: ", model.has_chat_template() ? "yes" : "no", "\n");
  std::vector<std::vector<std::string>> rows = {
      {"memory", "trained", "sinks", "window", "segment", "salient", "session bytes"}};
  for (const v1::MemoryKindInfo& kind : model.memory_kinds()) {
    const v1::MemoryShape& shape = kind.default_shape();
    rows.push_back({absl::StrCat(kind.kind(), kind.kind() == model.default_memory_kind() ? " (default)" : ""),
                    kind.trained() ? "yes" : "no", Grouped(shape.sink_tokens()),
                    Grouped(shape.window_tokens()), Grouped(shape.segment_tokens()),
                    Grouped(shape.salient_tokens()), HumanBytes(kind.default_session_bytes())});
  }
  return text + Table(rows);
}

absl::Status RunModels(const Invocation& invocation) {
  if (absl::Status status = invocation.NoPositionals(); !status.ok()) return status;
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  const auto models = (*client)->ListModels();
  if (!models.ok()) return models.status();
  for (const v1::Model& model : *models) {
    if (invocation.json) {
      invocation.PrintJson(ToJson(model));
    } else {
      invocation.terminal.out << Describe(model);
    }
  }
  return absl::OkStatus();
}

}  // namespace

Command ModelsCommand() {
  return {"models", "", "Show the model that is served and what a session on it costs", {}, RunModels};
}

}  // namespace memgate
