#include "server/inspection_text.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/memory_limit.h"

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
  return text;
}

std::string KindTable(const std::vector<KindSummary>& kinds) {
  std::string text = absl::StrFormat("%-22s %7s %6s %7s %8s %8s   %s\n", "memory kind", "trained", "sinks",
                                     "window", "segment", "salient", "bytes of a session");
  for (const KindSummary& kind : kinds) {
    const SessionShape& shape = kind.shape;
    absl::StrAppendFormat(&text, "%-22s %7s %6d %7d %8d %8d   %s\n", kind.kind, kind.trained ? "yes" : "no",
                          shape.sinks, shape.window, shape.segment, shape.salient,
                          DescribeCosts(kind.session, KvFormatName));
  }
  return text;
}

// What is known only of models.
std::string ModelText(const Inspection& inspection) {
  std::string text;
  if (inspection.config) absl::StrAppend(&text, DescribeShapes(*inspection.config), "\n");
  if (inspection.parameters) absl::StrAppend(&text, "parameters: ", *inspection.parameters, "\n");
  absl::StrAppend(&text, "tokenizer: ",
                  inspection.tokenizer.empty()
                      ? "none that can be read"
                      : absl::StrCat(inspection.tokenizer, ", ", inspection.vocabulary_size, " tokens"),
                  "; chat template: ", inspection.has_chat_template ? "yes" : "no", "\n");
  if (!inspection.config) return text;
  absl::StrAppend(&text, "weights in memory: ", DescribeCosts(inspection.weights, WeightFormatName),
                  "; auto takes ", std::string(WeightFormatName(inspection.default_weights)), "\n",
                  "full KV cache per token: ", DescribeCosts(inspection.full_kv_per_token, KvFormatName),
                  "\n");
  return text;
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
  std::string text = absl::StrCat(inspection.path, ": ", inspection.format);
  if (!inspection.architecture.empty()) absl::StrAppend(&text, ", ", inspection.architecture);
  absl::StrAppend(&text, "\ntensors: ", inspection.types.empty() ? "none" : DescribeTypes(inspection.types),
                  "\n");
  const bool is_module = inspection.format == kMemoryModuleFormat;
  if (!is_module) absl::StrAppend(&text, ModelText(inspection));
  for (const ModuleSummary& module : inspection.modules) {
    absl::StrAppend(&text, "memory module: ", DescribeModule(module), "\n");
  }
  if (!inspection.kinds.empty()) absl::StrAppend(&text, KindTable(inspection.kinds));
  for (const std::string& remark : inspection.remarks) absl::StrAppend(&text, "remark: ", remark, "\n");
  absl::StrAppend(&text, is_module ? "can be loaded: " : "can be served: ",
                  inspection.obstacles.empty() ? "yes" : "no", "\n");
  for (const std::string& obstacle : inspection.obstacles) absl::StrAppend(&text, "  ", obstacle, "\n");
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
    object["weight_bytes"] = CostsJson(inspection.weights, WeightFormatName);
    object["default_weights"] = std::string(WeightFormatName(inspection.default_weights));
    object["full_kv_bytes_per_token"] = CostsJson(inspection.full_kv_per_token, KvFormatName);
    object["memory_kinds"] = KindsJson(inspection.kinds);
  }
  // A path or a tokenizer's name need not be UTF-8.
  return object.dump(-1, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace memgate
