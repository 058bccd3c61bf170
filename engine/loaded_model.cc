#include "engine/loaded_model.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/time/time.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/mapped_file.h"
#include "engine/kernels/parallel.h"
#include "engine/scheduling/status_reason.h"
#include "engine/session/session_state.h"
#include "engine/weight_choice.h"

namespace memgate {
namespace {

absl::Status CheckOptions(const EngineOptions& options) {
  if (options.model_path.empty()) return absl::InvalidArgumentError("model: must be set");
  if (options.max_batch_tokens < 1) return absl::InvalidArgumentError("max batch tokens: must be at least 1");
  if (options.max_active_turns < 1 || options.max_active_turns > options.max_batch_tokens) {
    return absl::InvalidArgumentError(
        Concat("max active turns: must be in [1, max batch tokens = ", options.max_batch_tokens, "]"));
  }
  if (options.max_queued_turns < 1) return absl::InvalidArgumentError("max queued turns: must be at least 1");
  if (options.exact_limit_tokens < 1 || options.exact_limit_tokens > (1 << 20)) {
    return absl::InvalidArgumentError("exact limit: must be in [1, 1048576] tokens");
  }
  return absl::OkStatus();
}

// The special token that the chat template writes behind an answer, with or without white space between: what
// a model that was trained on such chats ends its answers with.
std::optional<TokenId> EndInTemplate(const LoadedModel& model) {
  const auto chat_template = model.chat_templates.For({});
  if (!chat_template.ok()) return std::nullopt;
  ChatRenderOptions options = RenderOptions(model);
  options.add_generation_prompt = false;
  const auto text = (*chat_template)
                        ->Render({{.role = "user", .content = "?"},
                                  {.role = "assistant", .content = std::string(kAnyAnswer)}},
                                 options);
  const auto end = text.ok() ? EndOfAnyAnswer(*text) : std::nullopt;
  if (!end) return std::nullopt;
  const absl::string_view rest = absl::StripLeadingAsciiWhitespace(absl::string_view(*text).substr(*end));
  const auto ids = model.tokenizer->Encode({rest.data(), rest.size()}, TextPosition::kContinuation);
  if (!ids.ok() || ids->empty() || !model.tokenizer->IsSpecial(ids->front())) return std::nullopt;
  return ids->front();
}

// What generation_config.json (or config.json) names, what the tokenizer does, and the template's end of a
// turn: published models name one here and another one there, and mean all of them. In this order, each once.
std::vector<int32_t> EndsOfAnswers(const LoadedModel& model) {
  std::vector<int32_t> ids = model.info.generation.eos_token_ids;
  const std::vector<TokenId>& own = model.tokenizer->end_ids();
  ids.insert(ids.end(), own.begin(), own.end());
  if (const std::optional<TokenId> end = EndInTemplate(model)) ids.push_back(*end);
  std::vector<int32_t> ends;
  for (const int32_t id : ids) {
    if (!absl::c_linear_search(ends, id)) ends.push_back(id);
  }
  return ends;
}

absl::Status LoadText(const Checkpoint& checkpoint, LoadedModel& model) {
  const std::string& path = model.options.model_path;
  auto tokenizer = OpenTokenizer(path, checkpoint.vocabulary);
  if (!tokenizer.ok()) return tokenizer.status();
  model.tokenizer = *std::move(tokenizer);
  if (auto s = CheckVocabulary(path, model.tokenizer->vocab_size(), checkpoint.config); !s.ok()) return s;
  model.chat_templates = ChatTemplates(model.tokenizer->chat_templates());
  model.info.has_chat_template = model.chat_templates.For({}).ok();
  model.eos_ids = EndsOfAnswers(model);
  return absl::OkStatus();
}

void ChooseFormat(LoadedModel& model) {
  WeightChoice choice{.format = model.options.weights.value_or(WeightFormat::kF32)};
  if (!model.options.weights) choice = ChooseWeights(model.info.config, model.options.memory_budget_bytes);
  model.info.weights = choice.format;
  model.info.weights_reason = std::move(choice.reason);
}

// Reserves before it packs.
absl::Status LoadTransformer(LoadedModel& model) {
  const ModelConfig& config = model.info.config;
  const WeightFormat format = model.info.weights;
  const int64_t weight_bytes = PackedWeightBytes(config, format);
  auto weights_reserved = ReserveBytes(*model.accountant, weight_bytes, "the model's weights");
  if (!weights_reserved.ok()) return weights_reserved.status();
  model.weight_bytes = *std::move(weights_reserved);
  auto scratch = ReserveBytes(*model.accountant, LoadScratchBytes(config), "packing the model's weights");
  if (!scratch.ok()) return scratch.status();
  auto weights = model.weight_store->Load(model.info.fingerprint, config, *model.tensors, format,
                                          model.options.load_progress);
  if (!weights.ok()) return weights.status();
  scratch->Release();
  const int64_t work_bytes = Workspace::Bytes(config, {.max_tokens = model.options.max_batch_tokens,
                                                       .max_logit_rows = model.options.max_active_turns,
                                                       .weights = format});
  auto work_reserved = ReserveBytes(*model.accountant, work_bytes, "the work buffers");
  if (!work_reserved.ok()) return work_reserved.status();
  model.work_bytes = *std::move(work_reserved);
  model.info.parameters = weights->parameters;
  model.info.weight_bytes = weights->packed_bytes;
  model.transformer = std::make_unique<Transformer>(config, *std::move(weights));
  if (model.options.weight_cache.write == WeightCacheOptions::Write::kBeforeLoaded &&
      model.weight_store->Wants(model.transformer->weights())) {
    model.weight_store->Write(model.info.fingerprint, *model.tensors, model.transformer->weights());
  }
  return absl::OkStatus();
}

// Reserves before it reads.
absl::Status LoadKinds(LoadedModel& model) {
  const ModulePlace place = ModulePlace::Of(model.options.memory_folder, model.options.model_path);
  const auto bytes = KindRegistry::ModuleBytes(place);
  if (!bytes.ok()) return bytes.status();
  auto reserved = ReserveBytes(*model.accountant, *bytes, "the weights of memory modules");
  if (!reserved.ok()) return reserved.status();
  model.module_bytes = *std::move(reserved);
  const auto norms = NormsFingerprint(model.transformer->weights());
  if (!norms.ok()) return norms.status();
  auto kinds = KindRegistry::Load(
      place, {model.info.config, model.info.fingerprint, *norms, model.options.memory_base});
  if (!kinds.ok()) return kinds.status();
  model.kinds = std::make_unique<KindRegistry>(*std::move(kinds));
  return absl::OkStatus();
}

void DescribeKinds(LoadedModel& model) {
  model.info.default_memory_kind = model.kinds->default_kind().kind->name();
  model.info.memory_modules = model.kinds->modules();
  for (const auto& entry : model.kinds->entries()) {
    const SessionContext context{&model.info.config, entry->kind.get(), &model.transformer->ropes(),
                                 model.options.kv};
    model.info.memory_kinds.push_back({std::string(entry->kind->name()), entry->kind->trained(),
                                       entry->default_shape,
                                       SessionState::Bytes(context, entry->default_shape).total()});
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& path,
                                                         const std::optional<GgufVocabulary>& vocabulary) {
  if (!vocabulary) return Tokenizer::FromFolder(path);
  auto tokenizer = Tokenizer::FromGguf(*vocabulary);
  if (!tokenizer.ok()) return WithPath(path, tokenizer.status());
  return tokenizer;
}

ChatRenderOptions RenderOptions(const LoadedModel& model) {
  const Tokenizer& tokenizer = *model.tokenizer;
  ChatRenderOptions options;
  options.now_unix_seconds = absl::ToUnixSeconds(model.options.clock());
  if (tokenizer.bos_id()) options.bos_token = tokenizer.Piece(*tokenizer.bos_id());
  if (tokenizer.eos_id()) options.eos_token = tokenizer.Piece(*tokenizer.eos_id());
  return options;
}

int64_t FullKvBytes(const ModelConfig& config, KvFormat format, int64_t tokens) {
  int64_t held = 0, bytes = 0;  // tokens of all layers
  for (int l = 0; l < config.num_layers; ++l) {
    const int64_t window = config.layer(l).window;
    const int64_t of_layer = window > 0 ? std::min(window, tokens) : tokens;
    if (__builtin_add_overflow(held, of_layer, &held)) return std::numeric_limits<int64_t>::max();
  }
  const int64_t of_token = 2 * config.num_kv_heads * KvRowBytes(format, config.head_dim);
  const bool overflows = __builtin_mul_overflow(held, of_token, &bytes);
  return overflows ? std::numeric_limits<int64_t>::max() : bytes;
}

absl::Status CheckVocabulary(std::string_view path, int tokens, const ModelConfig& config) {
  if (tokens <= config.vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat(path, ": the tokenizer has ", tokens, " tokens, but the model has only ", config.vocab_size));
}

absl::StatusOr<Reservation> ReserveBytes(ByteAccountant& accountant, int64_t bytes, std::string_view what) {
  auto reservation = accountant.Reserve(bytes, what);
  if (!reservation.ok()) return WithReason(reservation.status(), "MEMORY_BUDGET");
  return reservation;
}

absl::StatusOr<LoadedModel> LoadModel(EngineOptions options) {
  if (auto s = CheckOptions(options); !s.ok()) return s;
  // Weights are packed by, and some for, as many threads as will multiply them.
  const ScopedComputeThreads threads(options.threads);
  auto checkpoint = OpenCheckpoint(options.model_path);
  if (!checkpoint.ok()) return checkpoint.status();
  LoadedModel model;
  model.options = std::move(options);
  model.tensors = std::move(checkpoint->tensors);
  model.accountant = std::make_unique<ByteAccountant>(model.options.memory_budget_bytes);
  model.weight_store = std::make_unique<const WeightStore>(model.options.weight_cache);
  ModelInfo& info = model.info;
  info.config = checkpoint->config;
  info.generation = checkpoint->generation;
  ChooseFormat(model);
  info.kv_format = model.options.kv;
  info.full_kv_bytes_per_token = FullKvBytes(info.config, info.kv_format, 1);
  info.name = CheckpointName(model.options.model_path);
  if (const int64_t window = info.config.sliding_window(); window > 0) {
    model.options.exact_limit_tokens = std::min<int64_t>(model.options.exact_limit_tokens, window);
  }

  if (auto s = LoadText(*checkpoint, model); !s.ok()) return s;
  auto fingerprint = model.weight_store->FingerprintOf(*model.tensors, info.weights, model.options.clock());
  if (!fingerprint.ok()) return fingerprint.status();
  info.fingerprint = *std::move(fingerprint);
  auto settings = ConfigFingerprint(info.config);
  if (!settings.ok()) return settings.status();
  info.settings_fingerprint = *std::move(settings);
  if (auto s = LoadTransformer(model); !s.ok()) return s;
  if (auto s = LoadKinds(model); !s.ok()) return s;
  DescribeKinds(model);
  model.tensors->ReleasePages();
  return model;
}

}  // namespace memgate
