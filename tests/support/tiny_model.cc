#include "tests/support/tiny_model.h"

#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/safetensors.h"
#include "tests/support/safetensors_writer.h"

namespace memgate {
namespace {

using nlohmann::json;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "tiny model: %s\n", what.c_str());
  std::abort();
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) Die("cannot write " + path);
}

// Uniform numbers with a given mean and standard deviation. Not <random>'s distributions, whose output
// differs between standard libraries.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : engine_(seed) {}

  std::vector<float> Draw(int64_t count, double mean, double deviation) {
    std::vector<float> out(static_cast<size_t>(count));
    for (float& x : out) {
      const double unit = static_cast<double>(engine_() >> 11) * 0x1p-53;  // [0, 1)
      x = static_cast<float>(mean + deviation * std::sqrt(12.0) * (unit - 0.5));
    }
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

// Collects tensors in the order they are drawn.
class TensorList {
 public:
  explicit TensorList(uint64_t seed) : numbers_(seed) {}

  void Add(std::string name, std::vector<int64_t> shape, double mean, double deviation) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    const std::vector<float> values = numbers_.Draw(count, mean, deviation);
    tensors_.push_back(F32Tensor(std::move(name), std::move(shape), values));
  }
  // A matrix that keeps the size of what it is applied to.
  void AddMatrix(std::string name, int64_t out, int64_t in) {
    Add(std::move(name), {out, in}, 0.0, 1.0 / std::sqrt(static_cast<double>(in)));
  }

  std::string Image() const { return SafetensorsImage(tensors_); }

 private:
  Numbers numbers_;
  std::vector<TensorToWrite> tensors_;
};

bool IsGemma(TinyArchitecture a) { return a == TinyArchitecture::kGemma2 || a == TinyArchitecture::kGemma3; }

void AddNorm(const TinyModelOptions& o, const std::string& name, int64_t size, TensorList& list) {
  list.Add(name + ".weight", {size}, IsGemma(o.architecture) ? 0.0 : 1.0, 0.2);
}

void AddAttention(const TinyModelOptions& o, const std::string& attention, TensorList& list) {
  const TinyArchitecture a = o.architecture;
  const int64_t q = int64_t{o.heads} * o.head_dim;
  const int64_t kv = int64_t{o.kv_heads} * o.head_dim;
  if (a == TinyArchitecture::kPhi3) {
    list.AddMatrix(attention + "qkv_proj.weight", q + 2 * kv, o.hidden);
  } else {
    for (const auto& [name, size] : {std::pair{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}}) {
      list.AddMatrix(attention + name + ".weight", size, o.hidden);
      if (a == TinyArchitecture::kQwen2) list.Add(attention + name + ".bias", {size}, 0.0, 0.5);
    }
  }
  if (a == TinyArchitecture::kQwen3 || a == TinyArchitecture::kGemma3) {
    AddNorm(o, attention + "q_norm", o.head_dim, list);
    AddNorm(o, attention + "k_norm", o.head_dim, list);
  }
  list.AddMatrix(attention + "o_proj.weight", o.hidden, q);
}

std::string WeightsImage(const TinyModelOptions& o) {
  TensorList list(o.seed);
  list.Add("model.embed_tokens.weight", {o.vocab_size, o.hidden}, 0.0, 0.5);
  for (int l = 0; l < o.layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    AddNorm(o, layer + "input_layernorm", o.hidden, list);
    AddAttention(o, layer + "self_attn.", list);
    AddNorm(o, layer + "post_attention_layernorm", o.hidden, list);
    if (IsGemma(o.architecture)) {
      AddNorm(o, layer + "pre_feedforward_layernorm", o.hidden, list);
      AddNorm(o, layer + "post_feedforward_layernorm", o.hidden, list);
    }
    if (o.architecture == TinyArchitecture::kPhi3) {
      list.AddMatrix(layer + "mlp.gate_up_proj.weight", 2 * o.ffn, o.hidden);
    } else {
      list.AddMatrix(layer + "mlp.gate_proj.weight", o.ffn, o.hidden);
      list.AddMatrix(layer + "mlp.up_proj.weight", o.ffn, o.hidden);
    }
    list.AddMatrix(layer + "mlp.down_proj.weight", o.hidden, o.ffn);
  }
  AddNorm(o, "model.norm", o.hidden, list);
  if (!o.tied) list.AddMatrix("lm_head.weight", o.vocab_size, o.hidden);
  return list.Image();
}

const char* ArchitectureName(TinyArchitecture architecture) {
  switch (architecture) {
    case TinyArchitecture::kLlama:
      return "LlamaForCausalLM";
    case TinyArchitecture::kMistral:
      return "MistralForCausalLM";
    case TinyArchitecture::kQwen2:
      return "Qwen2ForCausalLM";
    case TinyArchitecture::kQwen3:
      return "Qwen3ForCausalLM";
    case TinyArchitecture::kPhi3:
      return "Phi3ForCausalLM";
    case TinyArchitecture::kSmolLm3:
      return "SmolLM3ForCausalLM";
    case TinyArchitecture::kGemma2:
      return "Gemma2ForCausalLM";
    case TinyArchitecture::kGemma3:
      return "Gemma3ForCausalLM";
  }
  Die("unknown architecture");
}

// What only some architectures have in their config.json.
void AddOwnKeys(const TinyModelOptions& o, json& config) {
  if (o.sliding_window > 0) config["sliding_window"] = o.sliding_window;
  if (o.architecture == TinyArchitecture::kSmolLm3) config["no_rope_layer_interval"] = 2;
  if (o.architecture == TinyArchitecture::kPhi3) {
    const auto pairs = static_cast<size_t>(o.rotated_part * o.head_dim / 2);
    config["partial_rotary_factor"] = o.rotated_part;
    config["original_max_position_embeddings"] = 32;
    config["rope_scaling"] = {{"type", "longrope"},
                              {"short_factor", std::vector<double>(pairs, 1.25)},
                              {"long_factor", std::vector<double>(pairs, 6.0)}};
  }
  if (!IsGemma(o.architecture)) return;
  if (o.sliding_window == 0) config["sliding_window"] = 9;
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["query_pre_attn_scalar"] = 12;
  if (o.architecture == TinyArchitecture::kGemma2) {
    config["attn_logit_softcapping"] = 5.0;
    config["final_logit_softcapping"] = 4.0;
  } else {
    config["sliding_window_pattern"] = 2;
    config["rope_local_base_freq"] = 200.0;
  }
}

json ModelConfigJson(const TinyModelOptions& o) {
  json config = {{"architectures", {ArchitectureName(o.architecture)}},
                 {"vocab_size", o.vocab_size},
                 {"hidden_size", o.hidden},
                 {"intermediate_size", o.ffn},
                 {"num_hidden_layers", o.layers},
                 {"num_attention_heads", o.heads},
                 {"num_key_value_heads", o.kv_heads},
                 {"head_dim", o.head_dim},
                 {"max_position_embeddings", o.max_position},
                 {"rope_theta", 10000.0},
                 {"rms_norm_eps", 1e-5},
                 {"tie_word_embeddings", o.tied},
                 {"torch_dtype", "float32"}};
  if (!IsGemma(o.architecture)) config["hidden_act"] = "silu";
  AddOwnKeys(o, config);
  if (o.llama3_rope) {
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 64}};
  }
  return config;
}

void AppendUtf8(int code_point, std::string& out) {
  if (code_point < 0x80) {
    out.push_back(static_cast<char>(code_point));
  } else {  // the alphabet ends far below U+0800
    out.push_back(static_cast<char>(0xC0 | code_point >> 6));
    out.push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  }
}

// The spelling of every byte in a byte-level vocabulary: printable Latin-1 as it is, the rest from U+0100 on.
json ByteVocabulary() {
  json vocabulary = json::object();
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string piece;
    AppendUtf8(printable ? byte : next++, piece);
    vocabulary[piece] = byte;
  }
  return vocabulary;
}

json TokenizerJson() {
  const std::pair<const char*, int32_t> specials[] = {{"<|endoftext|>", kTinyEndOfText},
                                                      {"<|system|>", kTinySystem},
                                                      {"<|user|>", kTinyUser},
                                                      {"<|assistant|>", kTinyAssistant},
                                                      {"<|end|>", kTinyEndOfTurn}};
  json added = json::array();
  for (const auto& [content, id] : specials) {
    added.push_back({{"id", id},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", ""},
            {"end_of_word_suffix", ""},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", ByteVocabulary()},
            {"merges", json::array()}}}};
}

json TokenizerConfigJson(const TinyModelOptions& o) {
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_prefix_space", false},
                 {"bos_token", nullptr},
                 {"eos_token", "<|endoftext|>"},
                 {"clean_up_tokenization_spaces", false}};
  if (o.chat_template) {
    config["chat_template"] =
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
  }
  return config;
}

void WriteMemory(const std::string& folder, const TinyModelOptions& o) {
  const auto base = OpenSafetensorsFile(folder + "/model.safetensors");
  if (!base.ok()) Die(base.status().ToString());
  const auto fingerprint = Fingerprint(**base);
  if (!fingerprint.ok()) Die(fingerprint.status().ToString());

  const bool retention = o.memory == TinyMemory::kMemgate;
  TensorList list(o.seed + 1);
  for (int l = 0; l < o.layers; ++l) {
    const std::string layer = "layers." + std::to_string(l) + ".";
    if (retention) {
      list.AddMatrix(layer + "retention.weight", o.kv_heads, o.hidden);
      list.Add(layer + "retention.bias", {o.kv_heads}, 0.0, 0.5);
    } else {
      list.Add(layer + "infini.beta", {o.heads}, 0.0, 1.0);
    }
  }
  WriteFile(folder + "/memory.safetensors", list.Image());
  const char* kind = retention ? "memgate" : o.memory == TinyMemory::kInfiniDelta ? "infini-delta" : "infini";
  const json config = {{"format", "memgate-memory"},
                       {"version", 1},
                       {"kind", kind},
                       {"base_fingerprint", *fingerprint},
                       {"num_layers", o.layers},
                       {"hidden_size", o.hidden},
                       {"num_kv_heads", o.kv_heads},
                       {"head_dim", o.head_dim},
                       {"sink_tokens", o.memory_sinks},
                       {"window_tokens", o.memory_window},
                       {"segment_tokens", o.memory_segment},
                       {"salient_tokens", retention ? o.memory_salient : 0}};
  WriteFile(folder + "/memory.json", config.dump(2));
}

}  // namespace

std::string TinyArchitectureName(TinyArchitecture architecture) {
  std::string name = ArchitectureName(architecture);
  name.resize(name.find("ForCausalLM"));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

std::string WriteTinyModel(const std::string& folder, const TinyModelOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) Die("cannot create " + folder);
  WriteFile(folder + "/config.json", ModelConfigJson(options).dump(2));
  json generation = {{"do_sample", false}};
  if (options.eos_token_id >= 0) generation["eos_token_id"] = options.eos_token_id;
  WriteFile(folder + "/generation_config.json", generation.dump(2));
  WriteFile(folder + "/tokenizer.json", TokenizerJson().dump());
  WriteFile(folder + "/tokenizer_config.json", TokenizerConfigJson(options).dump(2));
  WriteFile(folder + "/model.safetensors", WeightsImage(options));
  if (options.memory != TinyMemory::kNone) WriteMemory(folder, options);
  return folder;
}

}  // namespace memgate
