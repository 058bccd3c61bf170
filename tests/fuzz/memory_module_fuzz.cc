// Any bytes as a memory module: the text of memory.json (or of a published AHN config.json), a byte 0, then a
// safetensors image. What a loader accepts must fold and answer without touching memory that is not its own.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/memory/ahn.h"
#include "engine/memory/kind_table.h"
#include "engine/memory/module.h"
#include "tests/fuzz/tiny_session.h"

namespace memgate {
namespace {

// The tensors of an image in memory.
class ImageTensors : public TensorSource {
 public:
  ImageTensors(absl::Span<const std::byte> image, std::vector<SafetensorsEntry> entries)
      : image_(image), entries_(std::move(entries)) {}

  absl::StatusOr<TensorView> Find(std::string_view name) const override {
    for (const SafetensorsEntry& entry : entries_) {
      if (entry.name != name || !entry.dtype.has_value()) continue;
      return TensorView{entry.name, *entry.dtype, entry.shape, image_.data() + entry.begin,
                        entry.end - entry.begin};
    }
    return absl::NotFoundError("no such tensor");
  }
  bool Has(std::string_view name) const override { return Find(name).ok(); }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const SafetensorsEntry& entry : entries_) {
      if (entry.dtype.has_value()) names.push_back(entry.name);
    }
    return names;
  }

 private:
  const absl::Span<const std::byte> image_;
  const std::vector<SafetensorsEntry> entries_;
};

// Folds a few segments through the kind and asks it.
void Exercise(const MemoryKind& kind, const ModelConfig& config) {
  const SessionShape shape{.sinks = 1, .window = 2, .segment = 2, .salient = kind.HasRetention() ? 1 : 0};
  SessionState session(TinyContext(kind), shape, std::pmr::new_delete_resource());
  const std::vector<float> input(config.hidden_size, 0.5f);
  for (int position = 0; position < 12; ++position) {
    session.Prepare(1);
    const LayerView view = session.Layer(0);
    view.keys.Store(view.Row(position), std::vector<float>(config.head_dim, 1.0f).data());
    view.values.Store(view.Row(position), std::vector<float>(config.head_dim, 2.0f).data());
    if (position >= shape.sinks && kind.TokenFeatures() > 0) {
      kind.ComputeFeatures(0, input.data(), 1,
                           view.features + (view.Row(position) - view.window_row()) * kind.TokenFeatures());
    }
    session.Commit(1);
  }
  if (session.folded() != 8) std::abort();
  if (!kind.Recalls()) return;
  const std::vector<float> queries(config.num_heads * config.head_dim, 0.25f);
  const std::vector<float> angles = {1, 1, 0, 0};
  std::vector<float> attention(queries.size());
  kind.Combine(0,
               {.tokens = 1,
                .queries = queries.data(),
                .query_stride = static_cast<int64_t>(queries.size()),
                .layer_input = input.data(),
                .angles = angles.data(),
                .written = session.written()},
               session.Layer(0).memory, attention.data());
}

void Load(const MemoryModuleConfig& module, const ModelConfig& config, const TensorSource& tensors) {
  const MemoryKindRow* row = FindMemoryKind(module.kind);
  if (row == nullptr || row->load == nullptr) return;
  const auto kinds = row->load({module, config, tensors});
  if (!kinds.ok()) return;
  for (const auto& kind : *kinds) Exercise(*kind, config);
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const memgate::ModelConfig& config = memgate::TinyConfig();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(bytes.find('\0'), bytes.size());
  const std::string_view text = bytes.substr(0, end);
  const auto own = memgate::ParseMemoryModuleConfig(text);
  const auto published = memgate::IsPublishedAhnConfig(text)
                             ? memgate::ParsePublishedAhnConfig(text, config)
                             : absl::StatusOr<memgate::MemoryModuleConfig>(absl::NotFoundError("none"));
  const std::string image(bytes.substr(std::min(end + 1, bytes.size())));
  const auto span = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(image.data()), image.size());
  auto entries = memgate::ParseSafetensorsHeader(span);
  if (!entries.ok()) return 0;
  const memgate::ImageTensors tensors(span, *std::move(entries));
  if (own.ok()) memgate::Load(*own, config, tensors);
  if (published.ok()) memgate::Load(*published, config, tensors);
  return 0;
}
