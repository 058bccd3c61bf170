// SmolLM3: Llama, of which every few layers do not rotate.
#include <vector>

#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

// For each layer 1 if it rotates, else 0.
std::vector<double> ReadRotatingLayers(ConfigReader& reader, const ModelConfig& config) {
  constexpr const char* kList = "no_rope_layers";  // as it is called
  if (reader.Find(kList) != nullptr) return reader.RequiredNumbers(kList, config.num_layers, 0, 1);
  const int64_t interval = reader.Int("no_rope_layer_interval", 4, 1, 1024);
  std::vector<double> rotating(config.num_layers);
  for (int layer = 0; layer < config.num_layers; ++layer) rotating[layer] = (layer + 1) % interval != 0;
  return rotating;
}

void Read(ConfigReader& reader, ModelConfig& config) {
  RequireActivation(reader, "hidden_act", Activation::kSilu, config);
  RefuseAttentionBias(reader);
  RefuseMlpBias(reader);
  ReadDimensions(reader, {}, config);
  ReadRope(reader, 2e6, config);
  ReadCommon(reader, {.tied_embeddings = true}, config);
  const std::vector<double> rotating = ReadRotatingLayers(reader, config);
  const int64_t window = ReadWindow(reader, 0);
  ReadLayerWindows(
      reader, reader.Bool("use_sliding_window", false) ? window : 0,
      [&](int layer) { return rotating[layer] == 0; }, config);
  config.ropes.push_back({.rotates = false});
  config.layers.resize(config.num_layers);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    config.layers[layer].rope = rotating[layer] != 0 ? 0 : 1;
  }
}

constexpr GgufTensorName kGgufTensors[] = {
    {"attn_q.weight", "self_attn.q_proj.weight", GgufRows::kPaired},
    {"attn_k.weight", "self_attn.k_proj.weight", GgufRows::kPaired},
};
constexpr GgufArchitecture kGguf = {.name = "smollm3", .layer_tensors = kGgufTensors};

}  // namespace

const Architecture kSmolLm3 = {"SmolLM3ForCausalLM", Read, &kGguf};

}  // namespace memgate
