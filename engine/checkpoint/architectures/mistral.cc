// Mistral: Llama, of which some have a window in every layer.
#include "engine/checkpoint/architectures/architecture.h"
#include "engine/checkpoint/architectures/sections.h"

namespace memgate {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  kLlama.read(reader, config);
  config.sliding_window = ReadSlidingWindow(reader);
}

}  // namespace

const Architecture kMistral = {"MistralForCausalLM", Read};

}  // namespace memgate
