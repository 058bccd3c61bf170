// Any bytes as a GGUF file: refused, or every tensor it lists can be read, under its own and under the
// model's name, whole and row by row, what is said about the model keeps its promises, and its tokenizer
// works.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/gguf_config.h"
#include "engine/checkpoint/gguf_source.h"
#include "engine/text/chat_templates.h"
#include "tests/fuzz/input_parts.h"
#include "tests/fuzz/tokenizer_checks.h"

namespace memgate {
namespace {

// Each row by itself gives the numbers that the whole has there.
void Read(const TensorView& view) {
  Require(DTypeBytes(view.dtype, view.elements()) == static_cast<int64_t>(view.bytes));
  std::vector<float> values(view.elements());
  ToFloat(view, absl::MakeSpan(values));
  std::vector<float> row(view.columns());
  for (int64_t i = 0; i < view.rows(); ++i) {
    ToFloat(view.Row(i), absl::MakeSpan(row));
    Require(std::memcmp(row.data(), &values[i * view.columns()], row.size() * sizeof(float)) == 0);
  }
}

void ReadTensors(const GgufFile& file, absl::Span<const std::byte> image) {
  for (const GgufTensor& tensor : file.tensors) {
    Require(tensor.begin <= image.size() && tensor.bytes <= image.size() - tensor.begin);
    if (!tensor.dtype.has_value()) continue;
    Read({tensor.name, *tensor.dtype, tensor.shape, image.data() + tensor.begin, tensor.bytes});
  }
}

void ReadModel(const GgufFile& file, absl::Span<const std::byte> image) {
  const auto architecture = FindGgufArchitecture(file);
  if (!architecture.ok()) return;
  const auto config = GgufModelConfig(file, image, **architecture);
  if (!config.ok()) return;
  const size_t divisors = config->ropes[0].divisors.size();
  Require(divisors == 0 || divisors == static_cast<size_t>(config->head_dim / 2));
  const auto tensors = NameGgufTensors(file, image, **architecture, *config);
  if (!tensors.ok()) return;
  for (const auto& [name, view] : tensors->readable) {
    Require(name == view.name);
    Read(view);
  }
}

void ReadTokenizer(const GgufFile& file) {
  const auto vocabulary = ReadGgufVocabulary(file);
  if (!vocabulary.ok()) return;
  const auto tokenizer = Tokenizer::FromGguf(*vocabulary);
  if (!tokenizer.ok()) return;
  CheckTokenizer(**tokenizer, "ab 1<s>");
  (void)ChatTemplates((*tokenizer)->chat_templates());
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  const absl::Span<const std::byte> image(reinterpret_cast<const std::byte*>(data), size);
  const auto file = ParseGguf(image);
  if (!file.ok()) return 0;
  ReadTensors(*file, image);
  ReadModel(*file, image);
  ReadTokenizer(*file);
  const auto defaults = GgufGenerationDefaults(*file);
  if (defaults.ok() && defaults->temperature.has_value()) Require(*defaults->temperature >= 0);
  return 0;
}
