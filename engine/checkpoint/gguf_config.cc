#include "engine/checkpoint/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/architectures/sections.h"
#include "engine/checkpoint/gguf_metadata.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/json_util.h"
#include "engine/checkpoint/part_errors.h"
#include "engine/checkpoint/tensor.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr int64_t kAnyInt = std::numeric_limits<int64_t>::max();
constexpr uint64_t kMaxTokens = 1 << 22;  // as many as a config may claim
constexpr uint64_t kMaxMerges = 1 << 23;
constexpr uint64_t kMaxCharsmapBytes = 1 << 24;  // real ones have some 300 kB
// What writers without signed integers have for "there is none".
constexpr int64_t kNoToken = std::numeric_limits<uint32_t>::max();

// Keys of config.json that are computed, and what they are computed from.
constexpr GgufKeyName kDerivedKeys[] = {
    {"rope.dimension_count", "partial_rotary_factor"},
    {"rope.scaling.type", "rope_scaling.rope_type"},
    {"rope.scaling.factor", "rope_scaling.factor"},
    {"rope.scaling.attn_factor", "rope_scaling.attention_factor"},
};
// Those without which there is no model.
constexpr std::string_view kRequired[] = {"block_count",          "context_length",
                                          "embedding_length",     "feed_forward_length",
                                          "attention.head_count", "attention.layer_norm_rms_epsilon"};
constexpr double kDefaultTheta = 10000;
constexpr std::string_view kShortFactors = "rope_factors_short.weight";
constexpr std::string_view kLongFactors = "rope_factors_long.weight";

const GgufTensor* FindTensor(const GgufFile& file, std::string_view name) {
  const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                  [&](const GgufTensor& tensor) { return tensor.name == name; });
  return found == file.tensors.end() ? nullptr : &*found;
}

// A tensor of F32, one positive number for each of the frequencies of RoPE.
absl::StatusOr<std::vector<float>> ReadFactors(const GgufTensor& tensor, absl::Span<const std::byte> image,
                                               int64_t pairs) {
  if (tensor.dtype != DType::kF32 || tensor.shape != std::vector<int64_t>{pairs}) {
    return TensorError(tensor.name,
                       absl::StrCat("must be F32 of shape [", pairs, "], found ", tensor.type_name,
                                    " of shape [", absl::StrJoin(tensor.shape, ", "), "]"));
  }
  std::vector<float> factors(pairs);
  DecodeElements(*tensor.dtype, image.data() + tensor.begin, absl::MakeSpan(factors));
  for (const float factor : factors) {
    if (std::isfinite(factor) && factor > 0) continue;
    return TensorError(tensor.name, "must hold positive finite numbers");
  }
  return factors;
}

// Reads the keys of one architecture into an object as config.json holds it.
class ConfigWriter {
 public:
  ConfigWriter(const GgufFile& file, absl::Span<const std::byte> image, const Architecture& architecture)
      : file_(file), image_(image), architecture_(architecture), metadata_(file) {}

  absl::StatusOr<json> Write(int64_t vocab_size) {
    config_["architectures"] = json::array({std::string(architecture_.name)});
    for (const std::string_view key : kRequired) {
      if (!metadata_.Has(Key(key))) metadata_.Fail(Key(key), "is required");
    }
    for (const GgufKeyName& name : GgufKeys()) Copy(name);
    for (const GgufKeyName& name : architecture_.gguf->keys) Copy(name);
    WriteHeads();
    WriteRopeScaling();
    if (!config_.contains("rope_theta")) config_["rope_theta"] = kDefaultTheta;
    config_["vocab_size"] = vocab_size;
    config_["tie_word_embeddings"] = FindTensor(file_, "output.weight") == nullptr;
    if (metadata_.Int(Key("expert_count"), 0, kAnyInt).value_or(0) > 0) {
      metadata_.FailUnsupported(Key("expert_count"), "mixtures of experts are not supported");
    }
    if (!metadata_.status().ok()) return metadata_.status();
    if (auto s = WriteLongRope(); !s.ok()) return s;
    if (architecture_.gguf->complete != nullptr) architecture_.gguf->complete(config_);
    return config_;
  }

  // An error of the reader of config.json, with the key that the file has.
  absl::Status Translate(const absl::Status& status) const {
    const std::string_view message = ToStdView(status.message());
    const size_t colon = message.find(':');
    for (const auto names : {GgufKeys(), architecture_.gguf->keys, absl::MakeConstSpan(kDerivedKeys)}) {
      for (const GgufKeyName& name : names) {
        if (name.config != message.substr(0, colon)) continue;
        return absl::Status(status.code(),
                            Concat("key ", DescribeJson(Key(name.gguf)), message.substr(colon)));
      }
    }
    return status;
  }

 private:
  std::string Key(std::string_view name) const { return Concat(architecture_.gguf->name, ".", name); }

  // An integer of 0 says that there is no such thing.
  void Copy(const GgufKeyName& name) {
    const std::string key = Key(name.gguf);
    if (name.type == GgufKeyType::kInt) {
      const auto value = metadata_.Int(key, 0, kAnyInt);
      if (value && *value > 0) config_[std::string(name.config)] = *value;
    } else {
      if (const auto value = metadata_.Number(key)) config_[std::string(name.config)] = *value;
    }
  }

  // Without sizes of their own, heads share the model's; some architectures would assume others.
  void WriteHeads() {
    const int64_t hidden = config_.value("hidden_size", int64_t{0});
    const int64_t heads = config_.value("num_attention_heads", int64_t{0});
    if (!config_.contains("num_key_value_heads") && heads > 0) config_["num_key_value_heads"] = heads;
    if (!config_.contains("head_dim") && heads > 0 && hidden % heads == 0) {
      config_["head_dim"] = hidden / heads;
    }
    const int64_t head_dim = config_.value("head_dim", int64_t{0});
    const auto value_size = metadata_.Int(Key("attention.value_length"), 0, kAnyInt);
    if (value_size && *value_size != head_dim) {
      metadata_.FailUnsupported(Key("attention.value_length"),
                                absl::StrCat("values of another size (", *value_size, ") than keys (",
                                             head_dim, ") are not supported"));
    }
    rotated_ = metadata_.Int(Key("rope.dimension_count"), 0, kAnyInt).value_or(head_dim);
    if (head_dim > 0 && rotated_ != head_dim) {
      config_["partial_rotary_factor"] = static_cast<double>(rotated_) / static_cast<double>(head_dim);
    }
  }

  // Without a type, a factor means linear scaling; older files have it under another name.
  void WriteRopeScaling() {
    const std::string type = metadata_.String(Key("rope.scaling.type")).value_or("linear");
    const auto factor = metadata_.Number(Key("rope.scaling.factor"));
    const auto older = metadata_.Number(Key("rope.scale_linear"));
    const double scale = factor ? *factor : older.value_or(0);
    if (type == "none" || type == "longrope") return;
    if (type != "linear") {
      metadata_.FailUnsupported(
          Key("rope.scaling.type"),
          absl::StrCat(DescribeJson(type), " is not supported; supported are none, linear and longrope"));
    } else if (scale != 0 && scale != 1) {
      config_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", scale}};
    }
  }

  // The factors of longrope are tensors.
  absl::Status WriteLongRope() {
    const GgufTensor* tensors[] = {FindTensor(file_, kShortFactors), FindTensor(file_, kLongFactors)};
    const bool wanted = metadata_.String(Key("rope.scaling.type")).value_or("") == "longrope";
    if (tensors[0] == nullptr && tensors[1] == nullptr && !wanted) return absl::OkStatus();
    if (tensors[0] == nullptr || tensors[1] == nullptr) {
      return TensorError(tensors[0] == nullptr ? kShortFactors : kLongFactors, "must be there for longrope");
    }
    // Else the reader of config.json refuses it.
    if (rotated_ > kMaxHeadDim) return absl::OkStatus();
    json scaling = {{"rope_type", "longrope"}};
    for (const auto& [tensor, key] : {std::pair(tensors[0], "short_factor"), {tensors[1], "long_factor"}}) {
      const auto factors = ReadFactors(*tensor, image_, rotated_ / 2);
      if (!factors.ok()) return factors.status();
      scaling[key] = *factors;
    }
    if (const auto factor = metadata_.Number(Key("rope.scaling.attn_factor"))) {
      scaling["attention_factor"] = *factor;
    }
    const auto original = metadata_.Int(Key("rope.scaling.original_context_length"), 0, kAnyInt);
    if (original) config_["original_max_position_embeddings"] = *original;
    config_["rope_scaling"] = std::move(scaling);
    return metadata_.status();
  }

  const GgufFile& file_;
  const absl::Span<const std::byte> image_;
  const Architecture& architecture_;
  GgufMetadata metadata_;
  json config_ = json::object();
  int64_t rotated_ = 0;  // dimensions of a head
};

std::map<std::string, std::string> ReadChatTemplates(const GgufFile& file, GgufMetadata& metadata) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  std::map<std::string, std::string> templates;
  for (const auto& [key, value] : file.metadata) {
    std::string_view name = key;
    if (!name.starts_with(kKey)) continue;
    name.remove_prefix(kKey.size());
    if (!name.empty() && !name.starts_with('.')) continue;  // tokenizer.chat_templates lists the names
    std::string source = metadata.String(key).value_or("");
    if (source.empty()) continue;
    templates.insert_or_assign(name.empty() ? "default" : std::string(name.substr(1)), std::move(source));
  }
  return templates;
}

std::optional<int32_t> TokenKey(GgufMetadata& metadata, std::string_view key) {
  const auto id = metadata.Int(key, -1, kNoToken);
  if (!id || *id < 0 || *id == kNoToken) return std::nullopt;
  if (*id > std::numeric_limits<int32_t>::max()) {
    metadata.Fail(key, absl::StrCat("must be a token id, found ", *id));
    return std::nullopt;
  }
  return static_cast<int32_t>(*id);
}

}  // namespace

absl::StatusOr<const Architecture*> FindGgufArchitecture(const GgufFile& file) {
  GgufMetadata metadata(file);
  const std::string name = metadata.String("general.architecture").value_or("");
  if (metadata.Int("split.count", 0, kAnyInt).value_or(1) > 1) {
    metadata.FailUnsupported("split.count", "one part of a split file; join the parts into one file");
  }
  std::vector<std::string> supported;
  const Architecture* found = nullptr;
  for (const Architecture* known : ArchitectureTable()) {
    if (known->gguf == nullptr) continue;
    supported.emplace_back(known->gguf->name);
    if (known->gguf->name == name) found = known;
  }
  if (found == nullptr) {
    metadata.FailUnsupported("general.architecture",
                             absl::StrCat(DescribeJson(name), " is not supported; supported are ",
                                          absl::StrJoin(supported, ", ")));
  }
  if (!metadata.status().ok()) return metadata.status();
  return found;
}

absl::StatusOr<ModelConfig> GgufModelConfig(const GgufFile& file, absl::Span<const std::byte> image,
                                            const Architecture& architecture) {
  const GgufTensor* embedding = FindTensor(file, "token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return TensorError("token_embd.weight", "must be there, with two dimensions");
  }
  ConfigWriter writer(file, image, architecture);
  const absl::StatusOr<json> text = writer.Write(embedding->shape[0]);
  if (!text.ok()) return text.status();
  absl::StatusOr<ModelConfig> config = ParseModelConfig(text->dump());
  if (!config.ok()) return writer.Translate(config.status());
  if (architecture.gguf->whole_norms) config->norm_offset = 0;
  if (const GgufTensor* tensor = FindTensor(file, "rope_freqs.weight")) {
    auto divisors = ReadFactors(*tensor, image, config->ropes[0].Pairs(config->head_dim));
    if (!divisors.ok()) return divisors.status();
    config->ropes[0].divisors = *std::move(divisors);
  }
  return config;
}

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const GgufFile& file) {
  GgufMetadata metadata(file);
  GgufVocabulary vocabulary;
  vocabulary.model = metadata.String("tokenizer.ggml.model").value_or("");
  vocabulary.pre = metadata.String("tokenizer.ggml.pre").value_or("");
  vocabulary.tokens = metadata.Strings("tokenizer.ggml.tokens", kMaxTokens);
  vocabulary.scores = metadata.Floats("tokenizer.ggml.scores", kMaxTokens);
  vocabulary.types = metadata.Ints("tokenizer.ggml.token_type", kMaxTokens);
  vocabulary.merges = metadata.Strings("tokenizer.ggml.merges", kMaxMerges);
  vocabulary.bos_id = TokenKey(metadata, "tokenizer.ggml.bos_token_id");
  vocabulary.eos_id = TokenKey(metadata, "tokenizer.ggml.eos_token_id");
  vocabulary.eot_id = TokenKey(metadata, "tokenizer.ggml.eot_token_id");
  vocabulary.unknown_id = TokenKey(metadata, "tokenizer.ggml.unknown_token_id");
  vocabulary.padding_id = TokenKey(metadata, "tokenizer.ggml.padding_token_id");
  vocabulary.add_bos = metadata.Bool("tokenizer.ggml.add_bos_token");
  vocabulary.add_eos = metadata.Bool("tokenizer.ggml.add_eos_token");
  vocabulary.add_space_prefix = metadata.Bool("tokenizer.ggml.add_space_prefix");
  vocabulary.remove_extra_whitespaces = metadata.Bool("tokenizer.ggml.remove_extra_whitespaces");
  vocabulary.precompiled_charsmap = metadata.Bytes("tokenizer.ggml.precompiled_charsmap", kMaxCharsmapBytes);
  vocabulary.chat_templates = ReadChatTemplates(file, metadata);
  if (!metadata.status().ok()) return metadata.status();
  return vocabulary;
}

absl::StatusOr<GenerationDefaults> GgufGenerationDefaults(const GgufFile& file) {
  GgufMetadata metadata(file);
  json defaults = json::object();
  if (const auto top_k = metadata.Int("general.sampling.top_k", 0, kAnyInt)) defaults["top_k"] = *top_k;
  constexpr std::pair<const char*, const char*> kNumbers[] = {
      {"general.sampling.temp", "temperature"},
      {"general.sampling.top_p", "top_p"},
      {"general.sampling.penalty_repeat", "repetition_penalty"}};
  for (const auto& [key, name] : kNumbers) {
    if (const auto value = metadata.Number(key)) defaults[name] = *value;
  }
  if (!metadata.status().ok()) return metadata.status();
  auto parsed = ParseGenerationDefaults(defaults.dump());
  if (parsed.ok()) return parsed;
  return absl::Status(parsed.status().code(),
                      absl::StrCat("general.sampling, as ", parsed.status().message()));
}

}  // namespace memgate
