#include "engine/model/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/base/strings.h"

namespace memgate {
namespace {

// Names and shapes as Hugging Face writes them.
class WeightReader {
 public:
  WeightReader(const ModelConfig& config, const TensorSource& source, WeightFormat format)
      : config_(config), source_(source), format_(format) {}

  absl::Status Vector(const std::string& name, int64_t size, std::vector<float>& out) {
    out.clear();
    return Append(name, {size}, out);
  }

  // Stacks `names` ([rows_i, in] each) into one layer, with their biases if `with_bias`.
  absl::Status Stacked(const std::vector<std::pair<std::string, int>>& names, int in_features, bool with_bias,
                       Linear& out) {
    int out_features = 0;
    for (const auto& [name, rows] : names) out_features += rows;
    std::vector<float> weight;
    weight.reserve(size_t(out_features) * in_features);  // LoadScratchBytes
    std::vector<float> bias;
    for (const auto& [name, rows] : names) {
      if (auto s = Append(Concat(name, ".weight"), {rows, in_features}, weight); !s.ok()) return s;
      if (with_bias) {
        if (auto s = Append(Concat(name, ".bias"), {rows}, bias); !s.ok()) return s;
      }
    }
    auto linear = Linear::Pack(weight, bias, out_features, in_features, format_);
    if (!linear.ok()) return linear.status();
    out = *std::move(linear);
    packed_bytes_ += out.packed_bytes();
    return absl::OkStatus();
  }

  absl::Status Layer(int index, LayerWeights& out) {
    const std::string layer = Concat("model.layers.", index);
    const std::string attention = layer + ".self_attn";
    const std::string mlp = layer + ".mlp";
    const int c = config_.hidden_size;
    const int d = config_.head_dim;
    const int q = config_.num_heads * d;
    const int kv = config_.num_kv_heads * d;
    const int f = config_.intermediate_size;
    if (auto s = Vector(layer + ".input_layernorm.weight", c, out.attention_norm); !s.ok()) return s;
    if (auto s =
            Stacked({{attention + ".q_proj", q}, {attention + ".k_proj", kv}, {attention + ".v_proj", kv}}, c,
                    config_.qkv_bias, out.qkv);
        !s.ok()) {
      return s;
    }
    if (config_.qk_norm) {
      if (auto s = Vector(attention + ".q_norm.weight", d, out.query_norm); !s.ok()) return s;
      if (auto s = Vector(attention + ".k_norm.weight", d, out.key_norm); !s.ok()) return s;
    }
    if (auto s = Stacked({{attention + ".o_proj", c}}, q, false, out.attention_out); !s.ok()) return s;
    if (auto s = Vector(layer + ".post_attention_layernorm.weight", c, out.mlp_norm); !s.ok()) return s;
    if (auto s = Stacked({{mlp + ".gate_proj", f}, {mlp + ".up_proj", f}}, c, false, out.gate_up); !s.ok()) {
      return s;
    }
    return Stacked({{mlp + ".down_proj", c}}, f, false, out.down);
  }

  int64_t parameters() const { return parameters_; }
  int64_t packed_bytes() const { return packed_bytes_; }
  void CountParameters(int64_t n) { parameters_ += n; }

 private:
  absl::Status Append(const std::string& name, std::vector<int64_t> shape, std::vector<float>& out) {
    auto view = FindShaped(source_, name, shape);
    if (!view.ok()) return view.status();
    const size_t begin = out.size();
    out.resize(begin + view->elements());
    ToFloat(*view, absl::MakeSpan(out).subspan(begin));
    parameters_ += view->elements();
    return absl::OkStatus();
  }

  const ModelConfig& config_;
  const TensorSource& source_;
  const WeightFormat format_;
  int64_t parameters_ = 0;
  int64_t packed_bytes_ = 0;
};

}  // namespace

int64_t PackedWeightBytes(const ModelConfig& config, WeightFormat format) {
  const int c = config.hidden_size;
  const int q = config.num_heads * config.head_dim;
  const int qkv = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim;
  const int f = config.intermediate_size;
  const auto linear = [format](int out, int in, bool bias) {
    return Linear::PackedBytes(out, in, bias, format);
  };
  const int64_t norms = 2 * int64_t{c} + (config.qk_norm ? 2 * config.head_dim : 0);
  const int64_t layer = linear(qkv, c, config.qkv_bias) + linear(c, q, false) + linear(2 * f, c, false) +
                        linear(c, f, false) + norms * int64_t{sizeof(float)};
  return config.num_layers * layer + linear(config.vocab_size, c, false) + c * int64_t{sizeof(float)};
}

int64_t LoadScratchBytes(const ModelConfig& config) {
  const int64_t qkv = int64_t{config.num_heads + 2 * config.num_kv_heads} * config.head_dim;
  const int64_t widest = std::max({int64_t{config.vocab_size}, 2 * int64_t{config.intermediate_size}, qkv});
  return widest * config.hidden_size * int64_t{sizeof(float)};
}

absl::StatusOr<ModelWeights> LoadWeights(const ModelConfig& config, const TensorSource& source,
                                         WeightFormat format, absl::FunctionRef<void(int, int)> progress) {
  ModelWeights weights;
  WeightReader reader(config, source, format);
  const int total = config.num_layers + 1;
  auto embedding = FindShaped(source, "model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  if (!embedding.ok()) return embedding.status();
  weights.embedding = *std::move(embedding);

  weights.layers.resize(config.num_layers);
  for (int l = 0; l < config.num_layers; ++l) {
    if (auto s = reader.Layer(l, weights.layers[l]); !s.ok()) return s;
    progress(l + 1, total);
  }
  if (auto s = reader.Vector("model.norm.weight", config.hidden_size, weights.final_norm); !s.ok()) return s;
  const std::string head = config.tied_embeddings ? "model.embed_tokens" : "lm_head";
  if (auto s = reader.Stacked({{head, config.vocab_size}}, config.hidden_size, false, weights.head);
      !s.ok()) {
    return s;
  }
  if (!config.tied_embeddings) reader.CountParameters(weights.embedding.elements());
  progress(total, total);
  weights.parameters = reader.parameters();
  weights.packed_bytes = reader.packed_bytes();
  return weights;
}

}  // namespace memgate
