// Mistral: Llama, of which some have a window in every layer.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  kLlama.read(reader, config);
  ReadLayerWindows(
      reader, ReadWindow(reader, 0), [](int) { return true; }, config);
}

}  // namespace

const Architecture kMistral = {"MistralForCausalLM", Read};

}  // namespace memgate
