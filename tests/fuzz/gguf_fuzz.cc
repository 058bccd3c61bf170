// Any bytes as a GGUF file: refused, or every tensor it lists can be read, under its own and under the
// model's name, and what is said about model and tokenizer keeps its promises.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/gguf_config.h"
#include "engine/checkpoint/gguf_source.h"

namespace {

using memgate::GgufFile;

void Require(bool condition) {
  if (!condition) std::abort();
}

void ReadTensors(const GgufFile& file, absl::Span<const std::byte> image) {
  for (const memgate::GgufTensor& tensor : file.tensors) {
    Require(tensor.begin <= image.size() && tensor.bytes <= image.size() - tensor.begin);
    if (!tensor.dtype.has_value()) continue;
    const memgate::TensorView view{tensor.name, *tensor.dtype, tensor.shape, image.data() + tensor.begin,
                                   tensor.bytes};
    Require(memgate::DTypeBytes(view.dtype, view.elements()) == static_cast<int64_t>(view.bytes));
    std::vector<float> values(view.elements());
    memgate::ToFloat(view, absl::MakeSpan(values));
  }
}

void ReadModel(const GgufFile& file, absl::Span<const std::byte> image) {
  const auto architecture = memgate::FindGgufArchitecture(file);
  if (!architecture.ok()) return;
  const auto config = memgate::GgufModelConfig(file, image, **architecture);
  if (!config.ok()) return;
  const size_t divisors = config->ropes[0].divisors.size();
  Require(divisors == 0 || divisors == static_cast<size_t>(config->head_dim / 2));
  const auto tensors = memgate::NameGgufTensors(file, image, **architecture, *config);
  if (!tensors.ok()) return;
  for (const auto& [name, view] : tensors->readable) {
    Require(name == view.name);
    std::vector<float> values(view.elements());
    memgate::ToFloat(view, absl::MakeSpan(values));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::Span<const std::byte> image(reinterpret_cast<const std::byte*>(data), size);
  const auto file = memgate::ParseGguf(image);
  if (!file.ok()) return 0;
  ReadTensors(*file, image);
  ReadModel(*file, image);
  (void)memgate::ReadGgufVocabulary(*file);
  const auto defaults = memgate::GgufGenerationDefaults(*file);
  if (defaults.ok() && defaults->temperature.has_value()) Require(*defaults->temperature >= 0);
  return 0;
}
