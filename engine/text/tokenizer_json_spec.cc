#include "engine/text/tokenizer_json_spec.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/text/json_reading.h"
#include "engine/text/strings.h"
#include "engine/text/token_json.h"
#include "engine/text/token_table.h"
#include "engine/text/tokenizer_config.h"
#include "engine/text/tokenizer_pipeline_spec.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr std::string_view kFile = "tokenizer.json";
constexpr size_t kMaxBeginIds = 16;  // published files have one

absl::Status Invalid(std::string_view message) {
  return absl::InvalidArgumentError(Concat(kFile, ": ", message));
}

absl::Status Unsupported(std::string_view what) {
  return absl::UnimplementedError(Concat(kFile, ": ", what, " is not supported"));
}

absl::Status AddToTable(std::string_view piece, TokenId id, TokenTable& table) {
  const absl::Status status = table.Add(piece, id);
  return status.ok() ? status : Invalid(ToStdView(status.message()));
}

absl::Status CheckVocabSize(size_t pieces) {
  if (pieces <= static_cast<size_t>(kMaxVocabSize)) return absl::OkStatus();
  return Invalid(Concat("model.vocab has ", pieces, " pieces, more than ", kMaxVocabSize));
}

absl::Status ReadBpeVocab(const json& model, TokenTable& table, ModelSpec& spec) {
  const json& vocab = JsonMember(model, "vocab");
  if (!vocab.is_object()) return Invalid("model.vocab is not an object");
  if (absl::Status status = CheckVocabSize(vocab.size()); !status.ok()) return status;
  spec.vocab.reserve(vocab.size());
  for (const auto& [piece, value] : vocab.items()) {
    const absl::StatusOr<TokenId> id = ReadTokenId(value, Concat(kFile, ": model.vocab ", Quoted(piece)));
    if (!id.ok()) return id.status();
    if (piece.empty()) return Invalid(Concat("model.vocab: the piece with id ", *id, " is empty"));
    if (absl::Status status = AddToTable(piece, *id, table); !status.ok()) return status;
    spec.vocab.emplace_back(piece, *id);
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const json& model, ModelSpec& spec) {
  const json& merges = JsonMember(model, "merges");
  if (!merges.is_array()) return Invalid("model.merges is not an array");
  spec.merges.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const json& merge = merges[rank];
    if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      const bool two_parts = space != std::string::npos && space > 0 && space + 1 < text.size() &&
                             text.find(' ', space + 1) == std::string::npos;
      if (!two_parts) return Invalid(Concat("merge ", rank, " ", Quoted(text), " is not two pieces"));
      spec.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      spec.merges.emplace_back(merge[0].get_ref<const std::string&>(),
                               merge[1].get_ref<const std::string&>());
    } else {
      return Invalid(Concat("merge ", rank, " is neither \"a b\" nor [\"a\", \"b\"]"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadBpe(const json& model, TokenTable& table, ModelSpec& spec) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const absl::StatusOr<std::string> affix = JsonString(model, key, "", "tokenizer.json model");
    if (!affix.ok()) return affix.status();
    if (!affix->empty()) return Unsupported(Concat("model.", key));
  }
  const json& dropout = JsonMember(model, "dropout");
  if (!dropout.is_null() && dropout != 0) return Unsupported("model.dropout");
  const std::pair<const char*, bool*> flags[] = {{"fuse_unk", &spec.fuse_unk},
                                                 {"ignore_merges", &spec.ignore_merges}};
  for (const auto& [key, flag] : flags) {
    const absl::StatusOr<bool> value = JsonBool(model, key, false, "tokenizer.json model");
    if (!value.ok()) return value.status();
    *flag = *value;
  }
  const absl::StatusOr<std::string> unk = JsonString(model, "unk_token", "", "tokenizer.json model");
  if (!unk.ok()) return unk.status();
  if (!unk->empty()) spec.unk_token = *unk;
  if (absl::Status status = ReadBpeVocab(model, table, spec); !status.ok()) return status;
  return ReadMerges(model, spec);
}

// The vocabulary of a Unigram model is a list of [piece, score]; the id of a piece is its place.
absl::Status ReadUnigram(const json& model, TokenTable& table, ModelSpec& spec) {
  spec.kind = ModelKind::kUnigram;
  spec.fuse_unk = true;
  const json& vocab = JsonMember(model, "vocab");
  if (!vocab.is_array()) return Invalid("model.vocab is not an array");
  if (absl::Status status = CheckVocabSize(vocab.size()); !status.ok()) return status;
  for (const json& entry : vocab) {
    const TokenId id = static_cast<TokenId>(spec.vocab.size());
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return Invalid(Concat("model.vocab entry ", id, " is not [\"piece\", score]"));
    }
    const std::string& piece = entry[0].get_ref<const std::string&>();
    if (piece.empty()) return Invalid(Concat("model.vocab: the piece with id ", id, " is empty"));
    if (absl::Status status = AddToTable(piece, id, table); !status.ok()) return status;
    spec.vocab.emplace_back(piece, id);
    spec.scores.push_back(entry[1].get<double>());
  }
  const json& unk = JsonMember(model, "unk_id");
  if (unk.is_null()) return absl::OkStatus();
  const absl::StatusOr<TokenId> unk_id = ReadTokenId(unk, "tokenizer.json: model.unk_id");
  if (!unk_id.ok()) return unk_id.status();
  if (static_cast<size_t>(*unk_id) >= spec.vocab.size()) {
    return Invalid(Concat("model.unk_id ", *unk_id, " is not in the vocabulary"));
  }
  spec.unk_token = spec.vocab[*unk_id].first;
  return absl::OkStatus();
}

absl::Status ReadModel(const json& model, TokenTable& table, ModelSpec& spec) {
  if (!model.is_object()) return Invalid("model is not an object");
  const absl::StatusOr<std::string> type = JsonString(model, "type", "BPE", "tokenizer.json model");
  if (!type.ok()) return type.status();
  const absl::StatusOr<bool> byte_fallback = JsonBool(model, "byte_fallback", false, "tokenizer.json model");
  if (!byte_fallback.ok()) return byte_fallback.status();
  spec.byte_fallback = *byte_fallback;
  if (*type == "BPE") return ReadBpe(model, table, spec);
  if (*type == "Unigram") return ReadUnigram(model, table, spec);
  return Unsupported(Concat("model type ", Quoted(*type)));
}

absl::Status ReadAddedTokens(const json& root, TokenTable& table, std::vector<AddedToken>& tokens) {
  const json& list = JsonMember(root, "added_tokens");
  if (list.is_null()) return absl::OkStatus();
  if (!list.is_array()) return Invalid("added_tokens is not an array");
  absl::flat_hash_map<TokenId, size_t> seen;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = Concat(kFile, ": added_tokens ", i);
    const absl::StatusOr<TokenId> id = ReadTokenId(JsonMember(list[i], "id"), where);
    if (!id.ok()) return id.status();
    absl::StatusOr<AddedToken> token = ReadAddedToken(list[i], *id, where);
    if (!token.ok()) return token.status();
    if (!seen.try_emplace(*id, i).second) {
      return absl::InvalidArgumentError(
          Concat(where, ": id ", *id, " is already that of added_tokens ", seen[*id]));
    }
    if (absl::Status status = AddToTable(token->content, *id, table); !status.ok()) return status;
    tokens.push_back(*std::move(token));
  }
  return absl::OkStatus();
}

// What a TemplateProcessing post-processor puts before the text. What it puts after (an end token, if any) is
// left out: a text that the model continues has not ended.
absl::Status ReadTemplate(const json& processor, const TokenTable& table, std::vector<TokenId>& begin_ids) {
  const json& single = JsonMember(processor, "single");
  if (!single.is_array()) return Invalid("post_processor.single is not an array");
  for (const json& part : single) {
    if (!JsonMember(part, "Sequence").is_null()) break;
    const absl::StatusOr<std::string> name =
        JsonString(JsonMember(part, "SpecialToken"), "id", "", "tokenizer.json post_processor.single");
    if (!name.ok()) return name.status();
    const json& entry = JsonMember(JsonMember(processor, "special_tokens"), name->c_str());
    const json& ids = JsonMember(entry, "ids");
    if (!ids.is_array()) {
      return Invalid(Concat("post_processor.special_tokens has no list of ids for ", Quoted(*name)));
    }
    for (const json& value : ids) {
      const absl::StatusOr<TokenId> id =
          ReadTokenId(value, Concat(kFile, ": post_processor token ", Quoted(*name)));
      if (!id.ok()) return id.status();
      if (!table.Has(*id)) return Invalid(Concat("post_processor refers to unknown id ", *id));
      begin_ids.push_back(*id);
      if (begin_ids.size() > kMaxBeginIds) {
        return Invalid(Concat("post_processor puts more than ", kMaxBeginIds, " tokens before a text"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ReadPostProcessor(const json& processor, const TokenTable& table,
                               std::vector<TokenId>& begin_ids) {
  if (processor.is_null()) return absl::OkStatus();
  const absl::StatusOr<std::string> type = JsonType(processor, "tokenizer.json post_processor");
  if (!type.ok()) return type.status();
  if (*type == "ByteLevel") return absl::OkStatus();  // only moves offsets
  if (*type == "TemplateProcessing") return ReadTemplate(processor, table, begin_ids);
  if (*type == "Sequence") {
    const json& parts = JsonMember(processor, "processors");
    if (!parts.is_array()) return Invalid("post_processor.processors is not an array");
    for (const json& part : parts) {
      if (absl::Status status = ReadPostProcessor(part, table, begin_ids); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  return Unsupported(Concat("post_processor ", Quoted(*type)));
}

}  // namespace

absl::StatusOr<TokenizerSpec> TokenizerJsonSpec(std::string_view tokenizer_json,
                                                std::string_view config_json) {
  const absl::StatusOr<json> root = ParseJsonObject(tokenizer_json, kFile);
  if (!root.ok()) return root.status();
  const absl::StatusOr<json> config = ParseTokenizerConfig(config_json);
  if (!config.ok()) return config.status();
  TokenizerSpec spec;
  TokenTable table;
  absl::Status status = ReadModel(JsonMember(*root, "model"), table, spec.model);
  if (status.ok()) status = ReadAddedTokens(*root, table, spec.added_tokens);
  if (status.ok()) {
    const absl::Status density = table.CheckDensity();
    if (!density.ok()) status = Invalid(ToStdView(density.message()));
  }
  if (status.ok()) status = ReadPipeline(*root, spec);
  if (status.ok()) status = ReadPostProcessor(JsonMember(*root, "post_processor"), table, spec.begin_ids);
  if (status.ok()) status = ReadTokenizerConfig(*config, table, spec);
  if (!status.ok()) return status;
  if (!spec.bos_id.has_value() && !spec.begin_ids.empty()) spec.bos_id = spec.begin_ids.front();
  if (spec.eos_id.has_value()) spec.end_ids = {*spec.eos_id};
  MarkSpecialTokens(spec);
  return spec;
}

}  // namespace memgate
