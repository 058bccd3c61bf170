#include "tests/reference/transformer.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace memgate::reference {

Transformer::Transformer(const ModelConfig& config, const TensorSource& tensors) : config_(config) {
  for (const std::string& name : tensors.Names()) {
    const auto view = tensors.Find(name);
    std::vector<float> values(view->elements());
    ToFloat(*view, absl::MakeSpan(values));
    tensors_[name] = ToDouble(values);
  }
}

const Vector& Transformer::Tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    std::fprintf(stderr, "reference transformer: no tensor %s\n", name.c_str());
    std::abort();
  }
  return found->second;
}

// name.weight x + name.bias, if there is one.
Vector Transformer::Project(const std::string& name, const Vector& x) const {
  const auto bias = tensors_.find(name + ".bias");
  return Linear(Tensor(name + ".weight"), bias == tensors_.end() ? Vector() : bias->second, x);
}

// RMSNorm of x by the tensor name.weight.
Vector Transformer::Norm(const std::string& name, const Vector& x) const {
  Vector weight = Tensor(name + ".weight");
  for (double& w : weight) w += config_.norm_offset;
  return RmsNorm(x, weight, config_.rms_norm_eps);
}

// A part of what the fused matrix gives, or one matrix for itself.
Vector Transformer::Part(const std::string& layer, const std::string& fused, const std::string& own,
                         RowsOf rows, const Vector& x) const {
  if (!config_.fused_projections) return Project(layer + own, x);
  const Vector all = Project(layer + fused, x);
  return Vector(all.begin() + rows.begin, all.begin() + rows.begin + rows.count);
}

// The D numbers of one head, normalised if the model does that.
Vector Transformer::Head(const Vector& projected, int head, const std::string& norm) const {
  const int d = config_.head_dim;
  const Vector x(projected.begin() + head * d, projected.begin() + (head + 1) * d);
  return config_.qk_norm ? Norm(norm, x) : x;
}

// [T, H D] for normalised layer inputs [T, C].
Rows Transformer::AttentionOutput(int layer, const Rows& inputs, const GatedRule& rule) const {
  const std::string attention = config_.tensor_prefix + "layers." + std::to_string(layer) + ".self_attn.";
  const int d = config_.head_dim;
  const int c = config_.hidden_size;
  const int q_rows = config_.num_heads * d, kv_rows = config_.num_kv_heads * d;
  const LayerConfig own = config_.layer(layer);
  const RopeConfig& rope = config_.ropes[own.rope];
  const bool bounded = rule.rule != MemoryRule::kUnbounded;
  const Vector frequencies =
      RopeFrequencies(rope, d, bounded ? rule.shape.exact_capacity() : static_cast<int64_t>(inputs.size()));
  const double stretch = rope.longrope ? rope.longrope->attention_factor : 1.0;
  // Which only what is rotated is multiplied by; the rest is divided by it here, because the scores are
  // multiplied by its square.
  const auto head_of = [&](const Vector& projected, int head, const std::string& norm) {
    Vector x = Head(projected, head, norm);
    if (rope.rotated_dims > 0) {
      for (int i = rope.rotated_dims; i < d; ++i) x[i] /= stretch;
    }
    return x;
  };
  const double divisor = config_.query_scalar > 0 ? config_.query_scalar : d;
  const LayerRule layer_rule{.window = own.window,
                             .scale = stretch * stretch / std::sqrt(divisor),
                             .cap = config_.attention_softcap};
  std::vector<HeadHistory> histories(config_.num_kv_heads);
  Rows queries;
  for (const Vector& h : inputs) {
    queries.push_back(Part(attention, "qkv_proj", "q_proj", {0, q_rows}, h));
    const Vector k = Part(attention, "qkv_proj", "k_proj", {q_rows, kv_rows}, h);
    const Vector v = Part(attention, "qkv_proj", "v_proj", {q_rows + kv_rows, kv_rows}, h);
    for (int g = 0; g < config_.num_kv_heads; ++g) {
      histories[g].keys.push_back(head_of(k, g, attention + "k_norm"));
      histories[g].values.emplace_back(v.begin() + g * d, v.begin() + (g + 1) * d);
      const size_t index = static_cast<size_t>(layer) * config_.num_kv_heads + g;
      const auto of_head = [index](const Vector& tensor, int n) {
        return absl::MakeConstSpan(tensor).subspan(index * n, n);
      };
      if (rule.rule == MemoryRule::kSalient || rule.rule == MemoryRule::kMatrix) {
        histories[g].scores.push_back(Dot(of_head(rule.retention_weight, c), h) + rule.retention_bias[index]);
      }
      if (rule.rule == MemoryRule::kMatrix) {
        const double logit = Dot(of_head(rule.matrix.write_weight, c), h) + rule.matrix.write_bias[index];
        histories[g].strengths.push_back(1.0 / (1.0 + std::exp(-logit)));
        histories[g].key_features.push_back(MatrixFeatures(
            histories[g].keys.back(), of_head(rule.matrix.key_scale, d), of_head(rule.matrix.key_shift, d)));
        histories[g].decay = rule.matrix.decay[index];
      }
    }
  }
  Rows out;
  for (size_t t = 0; t < inputs.size(); ++t) {
    Vector row;
    for (int head = 0; head < config_.num_heads; ++head) {
      const int kv_head = head / (config_.num_heads / config_.num_kv_heads);
      const size_t index = static_cast<size_t>(layer) * config_.num_heads + head;
      const Vector query = head_of(queries[t], head, attention + "q_norm");
      QueryHead asking{.layer = layer_rule, .beta = rule.beta.empty() ? 0.0 : rule.beta[index]};
      if (rule.rule == MemoryRule::kMatrix) {
        asking.features =
            MatrixFeatures(query, absl::MakeConstSpan(rule.matrix.query_scale).subspan(index * d, d),
                           absl::MakeConstSpan(rule.matrix.query_shift).subspan(index * d, d));
        asking.gain = rule.matrix.gain[index];
      }
      const Vector attended =
          AttendHead(rule, asking, histories[kv_head], frequencies, query, static_cast<int64_t>(t));
      row.insert(row.end(), attended.begin(), attended.end());
    }
    out.push_back(std::move(row));
  }
  return out;
}

Rows Transformer::Logits(absl::Span<const int32_t> tokens, const GatedRule& rule) const {
  const int c = config_.hidden_size, f = config_.intermediate_size;
  const std::string& prefix = config_.tensor_prefix;
  const Vector& embedding = Tensor(prefix + "embed_tokens.weight");
  Rows x;
  for (const int32_t token : tokens) {
    x.emplace_back(embedding.begin() + int64_t{token} * c, embedding.begin() + (int64_t{token} + 1) * c);
    for (double& value : x.back()) value *= config_.embedding_scale;
  }
  const auto normalised = [&](const std::string& name) {
    Rows out;
    for (const Vector& row : x) out.push_back(Norm(name, row));
    return out;
  };
  // With a norm of its own in models that have one there.
  const auto add = [&](const std::string& post_norm, Vector from, Vector& to) {
    if (config_.post_norms) from = Norm(post_norm, from);
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  };
  for (int l = 0; l < config_.num_layers; ++l) {
    const std::string layer = prefix + "layers." + std::to_string(l) + ".";
    const Rows attended = AttentionOutput(l, normalised(layer + "input_layernorm"), rule);
    for (size_t t = 0; t < x.size(); ++t) {
      add(layer + "post_attention_layernorm", Project(layer + "self_attn.o_proj", attended[t]), x[t]);
    }
    const Rows inputs =
        normalised(layer + (config_.post_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm"));
    for (size_t t = 0; t < x.size(); ++t) {
      const Vector inner = ActivateMultiply(
          config_.activation, Part(layer + "mlp.", "gate_up_proj", "gate_proj", {0, f}, inputs[t]),
          Part(layer + "mlp.", "gate_up_proj", "up_proj", {f, f}, inputs[t]));
      add(layer + "post_feedforward_layernorm", Project(layer + "mlp.down_proj", inner), x[t]);
    }
  }
  const std::string head = config_.tied_embeddings ? prefix + "embed_tokens" : config_.head_tensor;
  Rows logits;
  for (const Vector& row : normalised(prefix + "norm")) {
    logits.push_back(Project(head, row));
    for (double& logit : logits.back()) {
      const double cap = config_.logit_softcap;
      if (cap > 0) logit = cap * std::tanh(logit / cap);
    }
  }
  return logits;
}

}  // namespace memgate::reference
