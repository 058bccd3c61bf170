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
  WeightReader(const ModelConfig& config, const TensorSource& source) : config_(config), source_(source) {}

  absl::Status Vector(const std::string& name, int64_t size, std::vector<float>& out) {
    out.clear();
    return Append(name, {size}, out);
  }

  // Stacks `names` ([rows_i, in] each) into one layer, with their biases if it has one.
  absl::Status Stacked(const LinearShape& shape, const std::vector<std::pair<std::string, int>>& names,
                       Linear& out) {
    int64_t rows_in_all = 0;
    for (const auto& [name, rows] : names) rows_in_all += rows;
    std::vector<float> weight;
    weight.reserve(rows_in_all * shape.in_features);  // LoadScratchBytes
    std::vector<float> bias;
    for (const auto& [name, rows] : names) {
      if (auto s = Append(Concat(name, ".weight"), {rows, shape.in_features}, weight); !s.ok()) return s;
      if (shape.has_bias) {
        if (auto s = Append(Concat(name, ".bias"), {rows}, bias); !s.ok()) return s;
      }
    }
    auto linear = Linear::Pack(shape, weight, bias);
    if (!linear.ok()) {
      return absl::Status(linear.status().code(),
                          Concat(names.front().first, ".weight: ", ToStdView(linear.status().message())));
    }
    out = *std::move(linear);
    packed_bytes_ += out.packed_bytes();
    return absl::OkStatus();
  }

  absl::Status Layer(int index, const ModelShapes& shapes, LayerWeights& out) {
    const std::string layer = Concat("model.layers.", index);
    const std::string attention = layer + ".self_attn";
    const std::string mlp = layer + ".mlp";
    const int c = config_.hidden_size;
    const int d = config_.head_dim;
    const int q = config_.num_heads * d;
    const int kv = config_.num_kv_heads * d;
    const int f = config_.intermediate_size;
    if (auto s = Vector(layer + ".input_layernorm.weight", c, out.attention_norm); !s.ok()) return s;
    if (auto s = Stacked(
            shapes.qkv,
            {{attention + ".q_proj", q}, {attention + ".k_proj", kv}, {attention + ".v_proj", kv}}, out.qkv);
        !s.ok()) {
      return s;
    }
    if (config_.qk_norm) {
      if (auto s = Vector(attention + ".q_norm.weight", d, out.query_norm); !s.ok()) return s;
      if (auto s = Vector(attention + ".k_norm.weight", d, out.key_norm); !s.ok()) return s;
    }
    if (auto s = Stacked(shapes.attention_out, {{attention + ".o_proj", c}}, out.attention_out); !s.ok()) {
      return s;
    }
    if (auto s = Vector(layer + ".post_attention_layernorm.weight", c, out.mlp_norm); !s.ok()) return s;
    if (auto s = Stacked(shapes.gate_up, {{mlp + ".gate_proj", f}, {mlp + ".up_proj", f}}, out.gate_up);
        !s.ok()) {
      return s;
    }
    return Stacked(shapes.down, {{mlp + ".down_proj", c}}, out.down);
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
  int64_t parameters_ = 0;
  int64_t packed_bytes_ = 0;
};

}  // namespace

ModelShapes::ModelShapes(const ModelConfig& config, WeightFormat format) {
  const int c = config.hidden_size;
  const int q = config.num_heads * config.head_dim;
  const int kv = config.num_kv_heads * config.head_dim;
  const int f = config.intermediate_size;
  qkv = {.format = format, .out_features = q + 2 * kv, .in_features = c, .has_bias = config.qkv_bias};
  attention_out = {.format = format, .out_features = c, .in_features = q};
  gate_up = {.format = format, .out_features = f, .in_features = c, .gated = true};
  down = {.format = format, .out_features = c, .in_features = f};
  head = {.format = format == WeightFormat::kInt4 ? WeightFormat::kInt8 : format,
          .out_features = config.vocab_size,
          .in_features = c};
}

int64_t PackedWeightBytes(const ModelConfig& config, WeightFormat format) {
  const ModelShapes shapes(config, format);
  const int64_t norms = 2 * int64_t{config.hidden_size} + (config.qk_norm ? 2 * config.head_dim : 0);
  const int64_t layer = Linear::PackedBytes(shapes.qkv) + Linear::PackedBytes(shapes.attention_out) +
                        Linear::PackedBytes(shapes.gate_up) + Linear::PackedBytes(shapes.down) +
                        norms * int64_t{sizeof(float)};
  return config.num_layers * layer + Linear::PackedBytes(shapes.head) +
         config.hidden_size * int64_t{sizeof(float)};
}

int64_t LoadScratchBytes(const ModelConfig& config) {
  const int64_t qkv = int64_t{config.num_heads + 2 * config.num_kv_heads} * config.head_dim;
  const int64_t widest = std::max({int64_t{config.vocab_size}, 2 * int64_t{config.intermediate_size}, qkv});
  return widest * config.hidden_size * int64_t{sizeof(float)};
}

absl::StatusOr<ModelWeights> LoadWeights(const ModelConfig& config, const TensorSource& source,
                                         WeightFormat format, absl::FunctionRef<void(int, int)> progress) {
  ModelWeights weights;
  weights.format = format;
  const ModelShapes shapes(config, format);
  WeightReader reader(config, source);
  const int total = config.num_layers + 1;
  auto embedding = FindShaped(source, "model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  if (!embedding.ok()) return embedding.status();
  weights.embedding = *std::move(embedding);

  weights.layers.resize(config.num_layers);
  for (int l = 0; l < config.num_layers; ++l) {
    if (auto s = reader.Layer(l, shapes, weights.layers[l]); !s.ok()) return s;
    progress(l + 1, total);
  }
  if (auto s = reader.Vector("model.norm.weight", config.hidden_size, weights.final_norm); !s.ok()) return s;
  const std::string head = config.tied_embeddings ? "model.embed_tokens" : "lm_head";
  if (auto s = reader.Stacked(shapes.head, {{head, config.vocab_size}}, weights.head); !s.ok()) return s;
  if (!config.tied_embeddings) reader.CountParameters(weights.embedding.elements());
  progress(total, total);
  weights.parameters = reader.parameters();
  weights.packed_bytes = reader.packed_bytes();
  return weights;
}

}  // namespace memgate
