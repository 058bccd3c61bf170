#include "server/inspection_text.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/memory_limit.h"
#include "server/printable.h"

namespace memgate {
namespace {

using nlohmann::ordered_json;

std::string DescribeTypes(const std::vector<TensorTypeSummary>& types) {
  return absl::StrJoin(types, ", ", [](std::string* out, const TensorTypeSummary& type) {
    absl::StrAppend(out, type.tensors, " ", type.type, " (",
                    type.readable ? FormatBytes(type.bytes) : "not supported", ")");
  });
}

std::string DescribeShapes(const ModelConfig& config) {
  return absl::StrCat(config.num_layers, " layers, width ", config.hidden_size, ", ", config.num_heads,
                      " heads (", config.num_kv_heads, " KV, dimension ", config.head_dim, "), feed-forward ",
                      config.intermediate_size, ", vocabulary ", config.vocab_size, ", trained context ",
                      config.max_position, " tokens");
}

// "f32 20.0 MiB, bf16 10.0 MiB".
template <typename Costs, typename Name>
std::string DescribeCosts(const Costs& costs, const Name& name) {
  return absl::StrJoin(costs, ", ", [&](std::string* out, const auto& cost) {
    absl::StrAppend(out, std::string(name(cost.format)), " ", FormatBytes(cost.bytes));
  });
}

std::string DescribeModule(const ModuleSummary& module) {
  const SessionShape& shape = module.shape;
  std::string text = absl::StrCat(module.folder, ": kind ", module.kind);
  if (module.name != module.kind) absl::StrAppend(&text, ", named ", module.name);
  absl::StrAppend(&text, ", ", FormatBytes(module.weight_bytes), ", ", shape.sinks, " sinks, window ",
                  shape.window, ", segment ", shape.segment, ", salient ", shape.salient);
  if (!module.base_fingerprint.empty()) absl::StrAppend(&text, ", for ", module.base_fingerprint);
  if (module.base) absl::StrAppend(&text, ", base: ", std::string(BaseMatchName(*module.base)));
  return text;
}

using Lines = std::vector<std::string>;

void AddKinds(const std::vector<KindSummary>& kinds, Lines& lines) {
  if (kinds.empty()) return;
  lines.push_back(absl::StrFormat("%-22s %7s %6s %7s %8s %8s   %s", "memory kind", "trained", "sinks",
                                  "window", "segment", "salient", "bytes of a session"));
  for (const KindSummary& kind : kinds) {
    const SessionShape& shape = kind.shape;
    lines.push_back(absl::StrFormat("%-22s %7s %6d %7d %8d %8d   %s", kind.kind, kind.trained ? "yes" : "no",
                                    shape.sinks, shape.window, shape.segment, shape.salient,
                                    DescribeCosts(kind.session, KvFormatName)));
  }
}

// What is known only of models.
void AddModel(const Inspection& inspection, Lines& lines) {
  if (inspection.config) lines.push_back(DescribeShapes(*inspection.config));
  if (inspection.parameters) lines.push_back(absl::StrCat("parameters: ", *inspection.parameters));
  if (!inspection.fingerprint.empty()) {
    lines.push_back(absl::StrCat("fingerprint: ", inspection.fingerprint));
  }
  if (!inspection.norms_fingerprint.empty()) {
    lines.push_back(absl::StrCat("fingerprint of norms: ", inspection.norms_fingerprint));
  }
  lines.push_back(
      absl::StrCat("tokenizer: ",
                   inspection.tokenizer.empty()
                       ? "none that can be read"
                       : absl::StrCat(inspection.tokenizer, ", ", inspection.vocabulary_size, " tokens"),
                   "; chat template: ", inspection.has_chat_template ? "yes" : "no"));
  if (!inspection.config) return;
  lines.push_back(absl::StrCat("weights in memory: ", DescribeCosts(inspection.weights, WeightFormatName),
                               "; auto takes ", std::string(WeightFormatName(inspection.default_weights))));
  lines.push_back(
      absl::StrCat("full KV cache per token: ", DescribeCosts(inspection.full_kv_per_token, KvFormatName)));
}

template <typename Costs, typename Name>
ordered_json CostsJson(const Costs& costs, const Name& name) {
  ordered_json object = ordered_json::object();
  for (const auto& cost : costs) object[std::string(name(cost.format))] = cost.bytes;
  return object;
}

ordered_json ShapeJson(const SessionShape& shape) {
  return {{"sink_tokens", shape.sinks},
          {"window_tokens", shape.window},
          {"segment_tokens", shape.segment},
          {"salient_tokens", shape.salient}};
}

ordered_json ConfigJson(const ModelConfig& config) {
  return {{"num_layers", config.num_layers},
          {"hidden_size", config.hidden_size},
          {"num_heads", config.num_heads},
          {"num_kv_heads", config.num_kv_heads},
          {"head_dim", config.head_dim},
          {"intermediate_size", config.intermediate_size},
          {"vocab_size", config.vocab_size},
          {"max_position", config.max_position},
          {"tied_embeddings", config.tied_embeddings}};
}

ordered_json ModulesJson(const std::vector<ModuleSummary>& modules) {
  ordered_json list = ordered_json::array();
  for (const ModuleSummary& module : modules) {
    list.push_back({{"folder", module.folder},
                    {"kind", module.kind},
                    {"name", module.name},
                    {"shape", ShapeJson(module.shape)},
                    {"weight_bytes", module.weight_bytes},
                    {"base_fingerprint", module.base_fingerprint}});
    if (module.base) list.back()["base"] = std::string(BaseMatchName(*module.base));
  }
  return list;
}

ordered_json KindsJson(const std::vector<KindSummary>& kinds) {
  ordered_json list = ordered_json::array();
  for (const KindSummary& kind : kinds) {
    list.push_back({{"kind", kind.kind},
                    {"trained", kind.trained},
                    {"shape", ShapeJson(kind.shape)},
                    {"session_bytes", CostsJson(kind.session, KvFormatName)}});
  }
  return list;
}

}  // namespace

std::string InspectionText(const Inspection& inspection) {
  const bool is_module = inspection.format == kMemoryModuleFormat;
  Lines lines = {absl::StrCat(inspection.path, ": ", inspection.format)};
  if (!inspection.architecture.empty()) absl::StrAppend(&lines.back(), ", ", inspection.architecture);
  lines.push_back(
      absl::StrCat("tensors: ", inspection.types.empty() ? "none" : DescribeTypes(inspection.types)));
  if (!is_module) AddModel(inspection, lines);
  for (const ModuleSummary& module : inspection.modules) {
    lines.push_back(absl::StrCat("memory module: ", DescribeModule(module)));
  }
  AddKinds(inspection.kinds, lines);
  for (const std::string& remark : inspection.remarks) lines.push_back(absl::StrCat("remark: ", remark));
  lines.push_back(absl::StrCat(is_module ? "can be loaded: " : "can be served: ",
                               inspection.obstacles.empty() ? "yes" : "no"));
  for (const std::string& obstacle : inspection.obstacles) lines.push_back(absl::StrCat("  ", obstacle));
  // Much of it was written by others.
  std::string text;
  for (const std::string& line : lines) text += Printable(line) + "\n";
  return text;
}

std::string InspectionJson(const Inspection& inspection) {
  ordered_json types = ordered_json::array();
  for (const TensorTypeSummary& type : inspection.types) {
    types.push_back(
        {{"type", type.type}, {"tensors", type.tensors}, {"bytes", type.bytes}, {"readable", type.readable}});
  }
  ordered_json object = {{"path", inspection.path},
                         {"format", inspection.format},
                         {"architecture", inspection.architecture},
                         {"servable", inspection.obstacles.empty()},
                         {"obstacles", inspection.obstacles},
                         {"remarks", inspection.remarks},
                         {"tensor_types", types},
                         {"tokenizer", inspection.tokenizer},
                         {"tokenizer_tokens", inspection.vocabulary_size},
                         {"has_chat_template", inspection.has_chat_template},
                         {"modules", ModulesJson(inspection.modules)}};
  if (inspection.config) {
    object["config"] = ConfigJson(*inspection.config);
    if (inspection.parameters) object["parameters"] = *inspection.parameters;
    if (!inspection.fingerprint.empty()) object["fingerprint"] = inspection.fingerprint;
    if (!inspection.norms_fingerprint.empty()) object["norms_fingerprint"] = inspection.norms_fingerprint;
    object["weight_bytes"] = CostsJson(inspection.weights, WeightFormatName);
    object["default_weights"] = std::string(WeightFormatName(inspection.default_weights));
    object["full_kv_bytes_per_token"] = CostsJson(inspection.full_kv_per_token, KvFormatName);
    object["memory_kinds"] = KindsJson(inspection.kinds);
  }
  // A path or a tokenizer's name need not be UTF-8, nor fit for a terminal.
  return object.dump(-1, ' ', /*ensure_ascii=*/true, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace memgate
