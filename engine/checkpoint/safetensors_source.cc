// Safetensors files as a TensorSource.
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/json_util.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/checkpoint/safetensors.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
// 400,000 tensors of 150 bytes each; real indexes are below 1 MB. {"weight_map": {...}, "metadata": {...}} is
// two levels; metadata may hold lists.
constexpr JsonLimits kIndexLimits = {.bytes = 64'000'000, .depth = 8};

class SafetensorsSource : public TensorSource {
 public:
  // `origin`: the file or folder, for messages.
  explicit SafetensorsSource(std::string origin) : origin_(std::move(origin)) {}

  // A file that has a say in which tensors there are.
  void AddIndex(const MappedFile& index) { identities_.push_back(index.identity()); }
  // Maps the file and makes visible the tensors for which `wanted` is true.
  absl::Status Add(const std::string& path, const std::function<bool(const std::string&)>& wanted);

  absl::StatusOr<TensorView> Find(std::string_view name) const override;
  std::string Describe(std::string_view name) const override;
  bool Has(std::string_view name) const override { return tensors_.find(name) != tensors_.end(); }
  std::vector<std::string> Names() const override;
  std::map<std::string, std::string, std::less<>> Unsupported() const override { return unsupported_; }
  std::vector<FileIdentity> Files() const override { return identities_; }
  void ReleasePages() const override {
    for (const MappedFile& file : files_) file.ReleasePages();
  }

  // Whether a file holds `name`, readable or not.
  bool Holds(std::string_view name) const {
    return Has(name) || unsupported_.find(name) != unsupported_.end();
  }

 private:
  // All constant once the source is handed out.
  const std::string origin_;
  std::vector<MappedFile> files_;
  std::vector<std::string> paths_;  // of files_
  std::vector<FileIdentity> identities_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> unsupported_;  // name -> dtype
  std::map<std::string, size_t, std::less<>> places_;            // name -> index in paths_, of all of them
};

absl::Status SafetensorsSource::Add(const std::string& path,
                                    const std::function<bool(const std::string&)>& wanted) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<std::vector<SafetensorsEntry>> entries = ParseSafetensorsHeader(file->bytes());
  if (!entries.ok()) return WithPath(path, entries.status());
  for (SafetensorsEntry& entry : *entries) {
    if (!wanted(entry.name)) continue;
    places_.emplace(entry.name, paths_.size());
    if (!entry.dtype.has_value()) {
      unsupported_.emplace(entry.name, entry.dtype_name);
      continue;
    }
    const TensorView view{entry.name, *entry.dtype, std::move(entry.shape),
                          file->bytes().data() + entry.begin, entry.end - entry.begin};
    tensors_.emplace(entry.name, view);
  }
  identities_.push_back(file->identity());
  paths_.push_back(path);
  files_.push_back(*std::move(file));
  return absl::OkStatus();
}

absl::StatusOr<TensorView> SafetensorsSource::Find(std::string_view name) const {
  if (const auto found = tensors_.find(name); found != tensors_.end()) return found->second;
  if (const auto found = unsupported_.find(name); found != unsupported_.end()) {
    return absl::UnimplementedError(absl::StrCat(Describe(name), " has dtype ", DescribeJson(found->second),
                                                 "; supported are F32, F16 and BF16"));
  }
  return absl::NotFoundError(absl::StrCat("no ", Describe(name)));
}

std::string SafetensorsSource::Describe(std::string_view name) const {
  const auto place = places_.find(name);
  return absl::StrCat(TensorSource::Describe(name), " in ",
                      place == places_.end() ? origin_ : paths_[place->second]);
}

std::vector<std::string> SafetensorsSource::Names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, view] : tensors_) names.push_back(name);
  return names;
}

bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

using ShardMap = std::map<std::string, std::set<std::string>>;  // shard -> tensors

absl::StatusOr<ShardMap> ParseIndex(std::string_view text) {
  const absl::StatusOr<json> index = ParseJsonObject(text, kIndexLimits);
  if (!index.ok()) return index.status();
  const auto weight_map = index->find("weight_map");
  if (weight_map == index->end() || !weight_map->is_object()) {
    return absl::InvalidArgumentError("weight_map: must be an object");
  }
  ShardMap shards;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string() || !IsPlainFileName(shard.get_ref<const std::string&>())) {
      return absl::InvalidArgumentError(absl::StrCat("weight_map: tensor ", DescribeJson(tensor),
                                                     " must name a file in this folder, found ",
                                                     DescribeJson(shard)));
    }
    shards[shard.get<std::string>()].insert(tensor);
  }
  return shards;
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenShards(const std::string& folder, const MappedFile& index) {
  const std::string index_path = absl::StrCat(folder, "/", kIndexFile);
  const absl::StatusOr<ShardMap> shards = ParseIndex(index.text());
  if (!shards.ok()) return WithPath(index_path, shards.status());
  auto source = std::make_unique<SafetensorsSource>(folder);
  source->AddIndex(index);
  for (const auto& [shard, tensors] : *shards) {
    const std::string path = absl::StrCat(folder, "/", shard);
    const absl::Status added =
        source->Add(path, [&listed = tensors](const std::string& name) { return listed.contains(name); });
    if (absl::IsNotFound(added)) {
      return absl::NotFoundError(absl::StrCat(path, ": no such file, but ", index_path,
                                              " lists it for tensor \"", *tensors.begin(), "\""));
    }
    if (!added.ok()) return added;
    for (const std::string& name : tensors) {
      if (!source->Holds(name)) {
        return absl::InvalidArgumentError(
            absl::StrCat(index_path, ": tensor ", DescribeJson(name), " is not in shard ", path));
      }
    }
  }
  return source;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensorsFile(const std::string& path) {
  auto source = std::make_unique<SafetensorsSource>(path);
  const absl::Status added = source->Add(path, [](const std::string&) { return true; });
  if (!added.ok()) return added;
  return source;
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensorsFolder(const std::string& folder) {
  absl::StatusOr<std::unique_ptr<TensorSource>> single =
      OpenSafetensorsFile(absl::StrCat(folder, "/", kSingleFile));
  if (!absl::IsNotFound(single.status())) return single;
  const absl::StatusOr<MappedFile> index = MappedFile::Open(absl::StrCat(folder, "/", kIndexFile));
  if (absl::IsNotFound(index.status())) {
    return absl::NotFoundError(absl::StrCat(folder, ": found neither ", kSingleFile, " nor ", kIndexFile));
  }
  if (!index.ok()) return index.status();
  return OpenShards(folder, *index);
}

}  // namespace memgate
