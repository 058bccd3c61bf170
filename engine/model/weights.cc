#include "engine/model/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/hugging_face.h"

namespace memgate {
namespace {

// Of the blobs' names and of what is stacked in each. The matrices have a version of their own.
constexpr int kBlobsVersion = 2;

std::string LayerBlob(int layer, std::string_view part) { return Concat("layers.", layer, ".", part); }
// Which tensor the head is made of, and what becomes of the rows of q and k, is said by config.json, which
// the fingerprint does not cover.
std::string HeadBlob(bool tied) { return tied ? "head.tied" : "head.own"; }
std::string QkvPart(const RopeConfig& rope) {
  if (rope.rotated_dims == 0) return "qkv";
  return Concat("qkv.rotated", rope.rotated_dims, ".", rope.longrope ? rope.longrope->attention_factor : 1.0);
}

// Tensors that share their input.
struct StackedTensor {
  std::string name;
  int rows = 0;
  int rotated_rows = 0;  // the first of them: those of queries and keys
};
using Stack = std::vector<StackedTensor>;

// Where only the first dimensions of a head are rotated, makes of it one that is rotated as a whole, some
// pairs by nothing. Row i of a head's first half is rotated with row i of the second (rope.h), so each half
// begins with its half of the rotated ones. The others are not multiplied by longrope's attention factor,
// whose square is part of all scores (ModelConfig::AttentionScale), so they are divided by it. rows: whole
// heads of queries or keys, of `columns` numbers each.
void CompleteRotation(const RopeConfig& rope, int head_dim, int64_t columns, absl::Span<float> rows) {
  const auto factor = static_cast<float>(rope.longrope ? rope.longrope->attention_factor : 1.0);
  const int64_t half = head_dim / 2 * columns, rotated = rope.rotated_dims / 2 * columns;
  for (; !rows.empty(); rows.remove_prefix(2 * half)) {
    for (float& weight : rows.subspan(2 * rotated, 2 * (half - rotated))) weight /= factor;
    // [r0 | r1 | p0 | p1] -> [r0 | p0 | r1 | p1]
    std::rotate(rows.begin() + rotated, rows.begin() + 2 * rotated, rows.begin() + rotated + half);
  }
}

// Whether tensors are read, or, but for norms, only looked up.
enum class Access { kRead, kCheck };

// Names and shapes as Hugging Face writes them.
class WeightReader {
 public:
  // `cached` may be null.
  WeightReader(const ModelConfig& config, const TensorSource& source, const CachedWeights* cached,
               Access access)
      : config_(config), source_(source), cached_(cached), access_(access) {}

  // The weights of an RMSNorm.
  absl::Status Norm(const std::string& name, int64_t size, std::vector<float>& out) {
    out.clear();
    parameters_ += size;
    const absl::Status status = AppendNumbers(source_, name + ".weight", {size}, out);
    for (float& weight : out) weight += config_.norm_offset;
    packed_bytes_ += static_cast<int64_t>(out.size() * sizeof(float));
    return status;
  }

  // One layer out of `names` ([rows_i, in] each), with their biases if it has one; `blob` names it in the
  // cache.
  absl::Status Stacked(const std::string& blob, const LinearShape& shape, const Stack& names, Linear& out) {
    for (const StackedTensor& tensor : names) {
      parameters_ += tensor.rows * (int64_t{shape.in_features} + (shape.has_bias ? 1 : 0));
    }
    auto linear = cached_ != nullptr ? Mapped(blob, shape) : Packed(shape, names);
    if (!linear.ok()) return linear.status();
    out = *std::move(linear);
    packed_bytes_ += out.packed_bytes();
    return absl::OkStatus();
  }

  absl::Status Layer(int index, const ModelShapes& shapes, LayerWeights& out) {
    const std::string layer = Concat(config_.tensor_prefix, "layers.", index);
    const std::string attention = layer + ".self_attn";
    const std::string mlp = layer + ".mlp";
    const int c = config_.hidden_size;
    const int d = config_.head_dim;
    if (auto s = LayerNorms(layer, out); !s.ok()) return s;
    const std::string qkv = LayerBlob(index, QkvPart(config_.ropes[0]));
    if (auto s = Stacked(qkv, shapes.qkv, QkvStack(attention), out.qkv); !s.ok()) return s;
    if (config_.qk_norm) {
      if (auto s = Norm(attention + ".q_norm", d, out.query_norm); !s.ok()) return s;
      if (auto s = Norm(attention + ".k_norm", d, out.key_norm); !s.ok()) return s;
    }
    if (auto s = Stacked(LayerBlob(index, "attention_out"), shapes.attention_out,
                         {{attention + ".o_proj", c}}, out.attention_out);
        !s.ok()) {
      return s;
    }
    if (auto s = Stacked(LayerBlob(index, "gate_up"), shapes.gate_up, GateUpStack(mlp), out.gate_up);
        !s.ok()) {
      return s;
    }
    return Stacked(LayerBlob(index, "down"), shapes.down, {{mlp + ".down_proj", c}}, out.down);
  }

  int64_t parameters() const { return parameters_; }
  int64_t packed_bytes() const { return packed_bytes_; }
  void CountParameters(int64_t n) { parameters_ += n; }

 private:
  // Of the rows of x. With post_norms, "post_attention_layernorm" is what its name says; without, it is the
  // norm in front of the feed-forward part.
  absl::Status LayerNorms(const std::string& layer, LayerWeights& out) {
    const int c = config_.hidden_size;
    if (auto s = Norm(layer + ".input_layernorm", c, out.attention_norm); !s.ok()) return s;
    if (!config_.post_norms) return Norm(layer + ".post_attention_layernorm", c, out.mlp_norm);
    if (auto s = Norm(layer + ".post_attention_layernorm", c, out.attention_post_norm); !s.ok()) return s;
    if (auto s = Norm(layer + ".pre_feedforward_layernorm", c, out.mlp_norm); !s.ok()) return s;
    return Norm(layer + ".post_feedforward_layernorm", c, out.mlp_post_norm);
  }

  Stack QkvStack(const std::string& attention) const {
    const int q = config_.num_heads * config_.head_dim;
    const int kv = config_.num_kv_heads * config_.head_dim;
    if (config_.fused_projections) return {{attention + ".qkv_proj", q + 2 * kv, q + kv}};
    return {{attention + ".q_proj", q, q}, {attention + ".k_proj", kv, kv}, {attention + ".v_proj", kv}};
  }

  Stack GateUpStack(const std::string& mlp) const {
    const int f = config_.intermediate_size;
    if (config_.fused_projections) return {{mlp + ".gate_up_proj", 2 * f}};
    return {{mlp + ".gate_proj", f}, {mlp + ".up_proj", f}};
  }

  absl::StatusOr<Linear> Packed(const LinearShape& shape, const Stack& names) {
    int64_t rows_in_all = 0;
    for (const StackedTensor& tensor : names) rows_in_all += tensor.rows;
    std::vector<float> weight;
    if (access_ == Access::kRead) weight.reserve(rows_in_all * shape.in_features);  // LoadScratchBytes
    std::vector<float> bias;
    for (const StackedTensor& tensor : names) {
      if (auto s = AppendRows(tensor, ".weight", {tensor.rows, shape.in_features}, weight); !s.ok()) return s;
      if (!shape.has_bias) continue;
      if (auto s = AppendRows(tensor, ".bias", {tensor.rows}, bias); !s.ok()) return s;
    }
    if (access_ == Access::kCheck) return Linear();
    auto linear = Linear::Pack(shape, weight, bias);
    if (!linear.ok()) return Named(source_.Describe(names.front().name + ".weight"), linear.status());
    return linear;
  }

  // The weights or the biases of a tensor.
  absl::Status AppendRows(const StackedTensor& tensor, const char* part, const std::vector<int64_t>& shape,
                          std::vector<float>& out) {
    const std::string name = tensor.name + part;
    if (access_ == Access::kCheck) return FindShaped(source_, name, shape).status();
    const size_t begin = out.size();
    const int64_t columns = shape.size() > 1 ? shape[1] : 1;
    if (auto s = AppendNumbers(source_, name, shape, out); !s.ok()) return s;
    const RopeConfig& rope = config_.ropes[0];
    if (rope.rotated_dims > 0) {
      CompleteRotation(rope, config_.head_dim, columns,
                       absl::MakeSpan(out).subspan(begin, tensor.rotated_rows * columns));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Linear> Mapped(const std::string& blob, const LinearShape& shape) {
    const auto bytes = cached_->Find(blob);
    if (!bytes.ok()) return bytes.status();
    auto linear = Linear::View(shape, *bytes);
    if (!linear.ok()) return Named(blob, linear.status());
    return linear;
  }

  static absl::Status Named(const std::string& name, const absl::Status& status) {
    return absl::Status(status.code(), Concat(name, ": ", ToStdView(status.message())));
  }

  const ModelConfig& config_;
  const TensorSource& source_;
  const CachedWeights* const cached_;
  const Access access_;
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
  gate_up = {
      .format = format, .out_features = f, .in_features = c, .gated = true, .activation = config.activation};
  down = {.format = format, .out_features = c, .in_features = f};
  head = {.format = format == WeightFormat::kInt4 ? WeightFormat::kInt8 : format,
          .out_features = config.vocab_size,
          .in_features = c};
}

int64_t PackedWeightBytes(const ModelConfig& config, WeightFormat format) {
  const ModelShapes shapes(config, format);
  const int64_t norms =
      (config.post_norms ? 4 : 2) * int64_t{config.hidden_size} + (config.qk_norm ? 2 * config.head_dim : 0);
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

namespace {

absl::StatusOr<ModelWeights> Read(const ModelConfig& config, const TensorSource& source, WeightFormat format,
                                  absl::FunctionRef<void(int, int)> progress,
                                  std::optional<CachedWeights> cached, Access access) {
  ModelWeights weights;
  weights.format = format;
  weights.mapped = std::move(cached);
  const ModelShapes shapes(config, format);
  WeightReader reader(config, source, weights.mapped ? &*weights.mapped : nullptr, access);
  const int total = config.num_layers + 1;
  const std::string& prefix = config.tensor_prefix;
  auto embedding =
      FindShaped(source, prefix + "embed_tokens.weight", {config.vocab_size, config.hidden_size});
  if (!embedding.ok()) return embedding.status();
  weights.embedding = *std::move(embedding);

  weights.layers.resize(config.num_layers);
  for (int l = 0; l < config.num_layers; ++l) {
    if (auto s = reader.Layer(l, shapes, weights.layers[l]); !s.ok()) return s;
    progress(l + 1, total);
  }
  if (auto s = reader.Norm(prefix + "norm", config.hidden_size, weights.final_norm); !s.ok()) return s;
  weights.tied_head = config.tied_embeddings;
  weights.qkv_part = QkvPart(config.ropes[0]);
  const std::string head = weights.tied_head ? prefix + "embed_tokens" : config.head_tensor;
  if (auto s =
          reader.Stacked(HeadBlob(weights.tied_head), shapes.head, {{head, config.vocab_size}}, weights.head);
      !s.ok()) {
    return s;
  }
  if (!config.tied_embeddings) reader.CountParameters(weights.embedding.elements());
  progress(total, total);
  weights.parameters = reader.parameters();
  weights.packed_bytes = reader.packed_bytes();
  return weights;
}

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const ModelConfig& config, const TensorSource& source,
                                         WeightFormat format, absl::FunctionRef<void(int, int)> progress,
                                         std::optional<CachedWeights> cached) {
  return Read(config, source, format, progress, std::move(cached), Access::kRead);
}

absl::StatusOr<WeightsSummary> CheckWeights(const ModelConfig& config, const TensorSource& source) {
  const auto weights = Read(
      config, source, WeightFormat::kF32, [](int, int) {}, std::nullopt, Access::kCheck);
  if (!weights.ok()) return weights.status();
  auto norms = NormsFingerprint(*weights);
  if (!norms.ok()) return norms.status();
  return WeightsSummary{weights->parameters, *std::move(norms)};
}

namespace {

bool IsOneNumber(absl::Span<const absl::Span<const float>> lists) {
  const float first = lists.front().front();
  return absl::c_all_of(lists, [=](absl::Span<const float> list) {
    return absl::c_all_of(list, [=](float x) { return x == first; });
  });
}

}  // namespace

absl::StatusOr<std::string> NormsFingerprint(const ModelWeights& weights) {
  std::vector<absl::Span<const float>> norms;
  for (const LayerWeights& layer : weights.layers) {
    for (const auto* norm : {&layer.attention_norm, &layer.query_norm, &layer.key_norm,
                             &layer.attention_post_norm, &layer.mlp_norm, &layer.mlp_post_norm}) {
      if (!norm->empty()) norms.push_back(*norm);
    }
  }
  norms.push_back(weights.final_norm);
  if (IsOneNumber(norms)) return std::string();
  return FingerprintOfNumbers(norms);
}

std::string PackedLayout(WeightFormat format) {
  if (format != WeightFormat::kInt8 && format != WeightFormat::kInt4) return "";
  return Concat("blobs", kBlobsVersion, "-panels", QuantisedMatrix::kLayoutVersion);
}

std::vector<WeightBlob> PackedBlobs(const ModelWeights& weights) {
  std::vector<WeightBlob> blobs;
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    const LayerWeights& layer = weights.layers[l];
    const int index = static_cast<int>(l);
    blobs.push_back({LayerBlob(index, weights.qkv_part), layer.qkv.bytes()});
    blobs.push_back({LayerBlob(index, "attention_out"), layer.attention_out.bytes()});
    blobs.push_back({LayerBlob(index, "gate_up"), layer.gate_up.bytes()});
    blobs.push_back({LayerBlob(index, "down"), layer.down.bytes()});
  }
  blobs.push_back({HeadBlob(weights.tied_head), weights.head.bytes()});
  return blobs;
}

}  // namespace memgate
