#include "engine/checkpoint/gguf_source.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/gguf_config.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/part_errors.h"

namespace memgate {
namespace {

constexpr std::string_view kLayerPrefix = "blk.";
constexpr std::string_view kHuggingFaceLayerPrefix = "model.layers.";
// Not weights: their numbers are part of the config.
constexpr std::string_view kConfigTensors[] = {"rope_freqs.weight", "rope_factors_short.weight",
                                               "rope_factors_long.weight"};

struct NewName {
  std::string hugging_face;
  GgufRows rows = GgufRows::kInOrder;
};

// The one that `spelling`, one of the two names of each, calls `wanted`. Null if it is not among them.
const GgufTensorName* Lookup(absl::Span<const GgufTensorName> names,
                             std::string_view GgufTensorName::*spelling, std::string_view wanted) {
  const auto found = std::find_if(names.begin(), names.end(),
                                  [&](const GgufTensorName& name) { return name.*spelling == wanted; });
  return found == names.end() ? nullptr : &*found;
}

// Of a layer; what the architecture says counts before what all have in common.
const GgufTensorName* LookupInLayer(const GgufArchitecture& architecture,
                                    std::string_view GgufTensorName::*spelling, std::string_view wanted) {
  const GgufTensorName* own = Lookup(architecture.layer_tensors, spelling, wanted);
  return own != nullptr ? own : Lookup(GgufLayerTensors(), spelling, wanted);
}

absl::StatusOr<NewName> Rename(std::string_view name, const GgufArchitecture& architecture, int num_layers) {
  const GgufTensorName* found = Lookup(GgufOuterTensors(), &GgufTensorName::gguf, name);
  std::string prefix;
  if (found == nullptr && name.starts_with(kLayerPrefix)) {
    const std::string_view rest = name.substr(kLayerPrefix.size());
    int layer = -1;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
    const std::string_view part = rest.substr(end - rest.data());
    if (error == std::errc() && part.starts_with('.')) {
      if (layer < 0 || layer >= num_layers) {
        return TensorError(name, Concat("there are only ", num_layers, " layers"));
      }
      prefix = Concat(kHuggingFaceLayerPrefix, layer, ".");
      found = LookupInLayer(architecture, &GgufTensorName::gguf, part.substr(1));
    }
  }
  if (found != nullptr && !found->hugging_face.empty()) {
    return NewName{Concat(prefix, found->hugging_face), found->rows};
  }
  return TensorError(name,
                     Concat("is not part of a ", architecture.name, " model as it can be computed here"),
                     absl::StatusCode::kUnimplemented);
}

// What files of the architecture call the tensor that is called `name` in a folder; where they have none,
// that.
std::string NameInFile(std::string_view name, const GgufArchitecture& architecture) {
  constexpr auto kFolderName = &GgufTensorName::hugging_face;
  if (const GgufTensorName* outer = Lookup(GgufOuterTensors(), kFolderName, name)) {
    return std::string(outer->gguf);
  }
  const size_t layer = kHuggingFaceLayerPrefix.size();
  const size_t dot = name.find('.', layer);
  if (!name.starts_with(kHuggingFaceLayerPrefix) || dot == std::string_view::npos) return std::string(name);
  const GgufTensorName* found = LookupInLayer(architecture, kFolderName, name.substr(dot + 1));
  if (found == nullptr) return std::string(name);
  return Concat(kLayerPrefix, name.substr(layer, dot - layer), ".", found->gguf);
}

class GgufSource : public TensorSource {
 public:
  GgufSource(MappedFile file, GgufTensors tensors, const GgufArchitecture& architecture)
      : file_(std::move(file)), tensors_(std::move(tensors)), architecture_(architecture) {}

  absl::StatusOr<TensorView> Find(std::string_view name) const override {
    if (const auto found = tensors_.readable.find(name); found != tensors_.readable.end()) {
      return found->second;
    }
    if (const auto found = tensors_.unsupported.find(name); found != tensors_.unsupported.end()) {
      return absl::UnimplementedError(
          Concat(Describe(name), " has type ", found->second, ", which is not supported"));
    }
    return absl::NotFoundError(Concat("no ", Describe(name)));
  }

  std::string Describe(std::string_view name) const override {
    return Concat(TensorSource::Describe(NameInFile(name, architecture_)), " in ", file_.identity().path);
  }

  bool Has(std::string_view name) const override {
    return tensors_.readable.find(name) != tensors_.readable.end();
  }

  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    names.reserve(tensors_.readable.size());
    for (const auto& [name, view] : tensors_.readable) names.push_back(name);
    return names;
  }

  std::map<std::string, std::string, std::less<>> Unsupported() const override {
    return tensors_.unsupported;
  }

  std::vector<FileIdentity> Files() const override { return {file_.identity()}; }
  void ReleasePages() const override { file_.ReleasePages(); }

 private:
  const MappedFile file_;
  const GgufTensors tensors_;  // borrow the mapping, which stays where it is
  const GgufArchitecture& architecture_;
};

// All but the tensors' source.
struct Parsed {
  Checkpoint checkpoint;
  GgufTensors tensors;
  const GgufArchitecture* architecture = nullptr;
};

absl::StatusOr<Parsed> Parse(absl::Span<const std::byte> image) {
  Parsed parsed;
  const absl::StatusOr<GgufFile> file = ParseGguf(image);
  if (!file.ok()) return file.status();
  const absl::StatusOr<const Architecture*> architecture = FindGgufArchitecture(*file);
  if (!architecture.ok()) return architecture.status();
  absl::StatusOr<ModelConfig> config = GgufModelConfig(*file, image, **architecture);
  if (!config.ok()) return config.status();
  absl::StatusOr<GgufVocabulary> vocabulary = ReadGgufVocabulary(*file);
  if (!vocabulary.ok()) return vocabulary.status();
  absl::StatusOr<GenerationDefaults> generation = GgufGenerationDefaults(*file);
  if (!generation.ok()) return generation.status();
  if (auto s = FitToVocabulary(config->vocab_size, *generation); !s.ok()) return s;
  absl::StatusOr<GgufTensors> tensors = NameGgufTensors(*file, image, **architecture, *config);
  if (!tensors.ok()) return tensors.status();
  parsed.checkpoint.config = *std::move(config);
  parsed.checkpoint.generation = *std::move(generation);
  parsed.checkpoint.vocabulary = *std::move(vocabulary);
  parsed.tensors = *std::move(tensors);
  parsed.architecture = (*architecture)->gguf;
  return parsed;
}

}  // namespace

absl::StatusOr<GgufTensors> NameGgufTensors(const GgufFile& file, absl::Span<const std::byte> image,
                                            const Architecture& architecture, const ModelConfig& config) {
  GgufTensors tensors;
  for (const GgufTensor& tensor : file.tensors) {
    if (std::find(std::begin(kConfigTensors), std::end(kConfigTensors), tensor.name) !=
        std::end(kConfigTensors)) {
      continue;
    }
    absl::StatusOr<NewName> name = Rename(tensor.name, *architecture.gguf, config.num_layers);
    if (!name.ok()) return name.status();
    if (!tensor.dtype.has_value()) {
      tensors.unsupported.emplace(std::move(name->hugging_face), tensor.type_name);
      continue;
    }
    TensorView view{name->hugging_face, *tensor.dtype, tensor.shape, image.data() + tensor.begin,
                    tensor.bytes};
    if (name->rows == GgufRows::kPaired) {
      if (view.rows() % config.head_dim != 0) {
        return TensorError(tensor.name,
                           Concat("its ", view.rows(), " rows are no whole heads of ", config.head_dim));
      }
      view.paired_rows = config.head_dim / 2;
    }
    if (!tensors.readable.emplace(name->hugging_face, std::move(view)).second) {
      return TensorError(tensor.name, "another one has its place in the model");
    }
  }
  return tensors;
}

absl::StatusOr<Checkpoint> OpenGgufFile(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<Parsed> parsed = Parse(file->bytes());
  if (!parsed.ok()) return WithPath(path, parsed.status());
  parsed->checkpoint.tensors =
      std::make_unique<GgufSource>(*std::move(file), std::move(parsed->tensors), *parsed->architecture);
  return std::move(parsed->checkpoint);
}

}  // namespace memgate
