// Any bytes as a memory module: the text of memory.json (or of a published AHN config.json), a byte 0, then a
// safetensors image. What a loader accepts must fold and answer without touching memory that is not its own.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "engine/memory/ahn.h"
#include "engine/memory/kind_table.h"
#include "engine/memory/module.h"
#include "tests/fuzz/image_tensors.h"
#include "tests/fuzz/input_parts.h"
#include "tests/fuzz/tiny_session.h"

namespace memgate {
namespace {

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
  Require(session.folded() == 8);
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
  using namespace memgate;
  const ModelConfig& config = TinyConfig();
  std::string_view rest = AsText(data, size);
  const std::string_view text = TakePart(rest, '\0');
  const auto own = ParseMemoryModuleConfig(text);
  const auto published = IsPublishedAhnConfig(text)
                             ? ParsePublishedAhnConfig(text, config)
                             : absl::StatusOr<MemoryModuleConfig>(absl::NotFoundError("none"));
  const std::string image(rest);
  const auto tensors = ImageTensors::Parse(image);
  if (!tensors.ok()) return 0;
  if (own.ok()) Load(*own, config, *tensors);
  if (published.ok()) Load(*published, config, *tensors);
  return 0;
}
