#include "tests/support/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <utility>
#include <vector>

#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/tensor.h"
#include "tests/support/ggml_encoder.h"

namespace memgate {
namespace {

using nlohmann::json;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "GGUF of a folder: %s\n", what.c_str());
  std::abort();
}

json ReadJson(const std::string& path) {
  std::ifstream file(path);
  json value = json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) Die("cannot read " + path);
  return value;
}

std::string ArchitectureName(const std::string& hugging_face) {
  static const std::map<std::string, std::string> kNames = {
      {"Qwen2ForCausalLM", "qwen2"},     {"Qwen3ForCausalLM", "qwen3"},   {"Phi3ForCausalLM", "phi3"},
      {"SmolLM3ForCausalLM", "smollm3"}, {"Gemma2ForCausalLM", "gemma2"}, {"Gemma3ForCausalLM", "gemma3"},
      {"LlamaForCausalLM", "llama"},     {"MistralForCausalLM", "llama"}};
  const auto found = kNames.find(hugging_face);
  if (found == kNames.end()) Die("no name for " + hugging_face);
  return found->second;
}

bool IsGemma(const std::string& architecture) { return architecture.starts_with("gemma"); }

// Of a part of a layer. Where norms stand behind the blocks too, the one behind attention has the name that
// elsewhere is that of the one in front of the feed-forward part.
std::string PartName(const std::string& part, bool post_norms) {
  static const std::map<std::string, std::string> kNames = {{"input_layernorm", "attn_norm"},
                                                            {"pre_feedforward_layernorm", "ffn_norm"},
                                                            {"post_feedforward_layernorm", "post_ffw_norm"},
                                                            {"self_attn.q_proj", "attn_q"},
                                                            {"self_attn.k_proj", "attn_k"},
                                                            {"self_attn.v_proj", "attn_v"},
                                                            {"self_attn.qkv_proj", "attn_qkv"},
                                                            {"self_attn.o_proj", "attn_output"},
                                                            {"self_attn.q_norm", "attn_q_norm"},
                                                            {"self_attn.k_norm", "attn_k_norm"},
                                                            {"mlp.gate_proj", "ffn_gate"},
                                                            {"mlp.up_proj", "ffn_up"},
                                                            {"mlp.gate_up_proj", "ffn_up"},
                                                            {"mlp.down_proj", "ffn_down"}};
  if (part == "post_attention_layernorm") return post_norms ? "post_attention_norm" : "ffn_norm";
  const auto found = kNames.find(part);
  if (found == kNames.end()) Die("no name for " + part);
  return found->second;
}

std::string TensorName(const std::string& name, bool post_norms) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  const std::string prefix = "model.layers.";
  const size_t layer_end = name.find('.', prefix.size());
  const size_t part_end = name.rfind('.');
  const std::string part = name.substr(layer_end + 1, part_end - layer_end - 1);
  return "blk." + name.substr(prefix.size(), layer_end - prefix.size()) + "." + PartName(part, post_norms) +
         name.substr(part_end);
}

// Row i + s * D / 2 of each head goes to place 2 i + s.
std::vector<float> Paired(const std::vector<float>& values, int64_t columns, int head_dim) {
  std::vector<float> out(values.size());
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  for (int64_t head = 0; head < rows; head += head_dim) {
    for (int i = 0; i < head_dim / 2; ++i) {
      for (int s = 0; s < 2; ++s) {
        const float* from = &values[(head + i + s * (head_dim / 2)) * columns];
        std::copy(from, from + columns, &out[(head + 2 * i + s) * columns]);
      }
    }
  }
  return out;
}

// What Llama 3 divides each frequency by, as its authors describe the stretching: long waves by `factor`,
// short ones not at all, between them by a blend of their inverses.
std::vector<float> Llama3Divisors(const ModelConfig& config) {
  const Llama3RopeScaling& scaling = *config.ropes[0].llama3;
  std::vector<float> divisors;
  for (int i = 0; i < config.head_dim / 2; ++i) {
    const double frequency = std::pow(config.ropes[0].theta, -2.0 * i / config.head_dim);
    const double turns =
        static_cast<double>(scaling.original_max_position) * frequency / (2 * std::numbers::pi);
    const double smooth = std::clamp(
        (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
    divisors.push_back(static_cast<float>(1 / ((1 - smooth) / scaling.factor + smooth)));
  }
  return divisors;
}

// The longest window of a layer; 0 if none has one.
int64_t Window(const ModelConfig& config) {
  int64_t window = 0;
  for (const LayerConfig& layer : config.layers) window = std::max(window, layer.window);
  return window;
}

void AddConfig(const ModelConfig& config, const std::string& architecture, GgufWriter& gguf) {
  gguf.Text("general.architecture", architecture);
  const std::pair<const char*, int64_t> numbers[] = {
      {"block_count", config.num_layers},
      {"context_length", config.max_position},
      {"embedding_length", config.hidden_size},
      {"feed_forward_length", config.intermediate_size},
      {"attention.head_count", config.num_heads},
      {"attention.head_count_kv", config.num_kv_heads},
      {"attention.key_length", config.head_dim},
      {"attention.value_length", config.head_dim},
      {"attention.sliding_window", Window(config)},
      {"rope.dimension_count", 2 * config.ropes[0].Pairs(config.head_dim)}};
  const std::string a = architecture + ".";
  for (const auto& [key, value] : numbers) gguf.U32(a + key, static_cast<uint32_t>(value));
  gguf.F32(a + "attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  gguf.F32(a + "rope.freq_base", static_cast<float>(config.ropes[0].theta));
  if (config.attention_softcap > 0) gguf.F32(a + "attn_logit_softcapping", config.attention_softcap);
  if (config.logit_softcap > 0) gguf.F32(a + "final_logit_softcapping", config.logit_softcap);
  if (architecture == "gemma3") {
    gguf.F32(a + "rope.freq_base_swa", static_cast<float>(config.ropes[1].theta));
    gguf.U32(a + "attention.sliding_window_pattern", 2);
  }
  if (const auto& longrope = config.ropes[0].longrope) {
    gguf.U32(a + "rope.scaling.original_context_length",
             static_cast<uint32_t>(longrope->original_max_position));
  }
}

void AddVector(const std::string& name, const std::vector<float>& values, GgufWriter& gguf) {
  gguf.Tensor(name, {static_cast<int64_t>(values.size())}, GgufTensorType(DType::kF32),
              EncodeElements(DType::kF32, values));
}

void AddRopeFactors(const ModelConfig& config, GgufWriter& gguf) {
  if (config.ropes[0].llama3) AddVector("rope_freqs.weight", Llama3Divisors(config), gguf);
  if (const auto& longrope = config.ropes[0].longrope) {
    const std::vector<double>&shorts = longrope->short_factors, &longs = longrope->long_factors;
    AddVector("rope_factors_short.weight", {shorts.begin(), shorts.end()}, gguf);
    AddVector("rope_factors_long.weight", {longs.begin(), longs.end()}, gguf);
  }
}

void AddTensors(const Checkpoint& checkpoint, const std::string& architecture, DType matrices,
                GgufWriter& gguf) {
  const bool paired = architecture == "llama" || architecture == "smollm3";
  for (const std::string& name : checkpoint.tensors->Names()) {
    const TensorView view = *checkpoint.tensors->Find(name);
    std::vector<float> values(view.elements());
    ToFloat(view, absl::MakeSpan(values));
    const bool rotated = name.find("q_proj") != std::string::npos || name.find("k_proj") != std::string::npos;
    if (paired && rotated) values = Paired(values, view.columns(), checkpoint.config.head_dim);
    if (IsGemma(architecture) && name.ends_with("norm.weight")) {
      for (float& value : values) value += 1.0f;
    }
    const DType dtype = view.shape.size() > 1 ? matrices : DType::kF32;
    if (view.columns() % BlockElements(dtype) != 0) Die(name + " has no whole blocks in a row");
    gguf.Tensor(TensorName(name, checkpoint.config.post_norms), view.shape, GgufTensorType(dtype),
                EncodeElements(dtype, values));
  }
  AddRopeFactors(checkpoint.config, gguf);
}

// One, or a list of them with names, as converters write it.
void AddTemplates(const json& templates, GgufWriter& gguf) {
  if (templates.is_string()) {
    gguf.Text("tokenizer.chat_template", templates.get<std::string>());
    return;
  }
  std::vector<std::string> names;
  for (const json& entry : templates) {
    const std::string name = entry["name"], source = entry["template"];
    if (name == "default") {
      gguf.Text("tokenizer.chat_template", source);
    } else {
      names.push_back(name);
      gguf.Text("tokenizer.chat_template." + name, source);
    }
  }
  gguf.Texts("tokenizer.chat_templates", names);
}

void AddTokenizer(const std::string& folder, GgufWriter& gguf) {
  const json tokenizer = ReadJson(folder + "/tokenizer.json");
  const json config = ReadJson(folder + "/tokenizer_config.json");
  constexpr int32_t kNormal = 1, kControl = 3;
  std::map<int32_t, std::pair<std::string, int32_t>> pieces;  // by id
  for (const auto& [piece, id] : tokenizer["model"]["vocab"].items()) pieces[id] = {piece, kNormal};
  for (const json& token : tokenizer["added_tokens"]) pieces[token["id"]] = {token["content"], kControl};
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (const auto& [id, piece] : pieces) {
    if (id != static_cast<int32_t>(tokens.size())) Die("the vocabulary has holes");
    if (config["eos_token"] == piece.first)
      gguf.U32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(id));
    tokens.push_back(piece.first);
    types.push_back(piece.second);
  }
  gguf.Text("tokenizer.ggml.model", "gpt2").Text("tokenizer.ggml.pre", "gpt-2");
  gguf.Texts("tokenizer.ggml.tokens", tokens).I32s("tokenizer.ggml.token_type", types);
  gguf.Texts("tokenizer.ggml.merges", tokenizer["model"]["merges"].get<std::vector<std::string>>());
  gguf.Bool("tokenizer.ggml.add_bos_token", false);
  if (config.contains("chat_template")) AddTemplates(config["chat_template"], gguf);
}

}  // namespace

GgufWriter GgufOfFolder(const std::string& folder, DType matrices) {
  const auto checkpoint = OpenHuggingFaceFolder(folder);
  if (!checkpoint.ok()) Die(checkpoint.status().ToString());
  const std::string architecture = ArchitectureName(checkpoint->config.architecture);
  GgufWriter gguf;
  AddConfig(checkpoint->config, architecture, gguf);
  AddTokenizer(folder, gguf);
  AddTensors(*checkpoint, architecture, matrices, gguf);
  return gguf;
}

}  // namespace memgate
