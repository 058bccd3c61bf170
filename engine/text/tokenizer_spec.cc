#include "engine/text/tokenizer_spec.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/text/json_reading.h"
#include "engine/text/strings.h"
#include "engine/text/tokenizer_pipeline_spec.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr std::string_view kFile = "tokenizer.json";

// Ids may leave gaps, but no more than this many beyond the number of pieces: tables are sized by the largest
// id.
constexpr int64_t kMaxIdGap = 65536;

absl::Status Invalid(std::string_view message) {
  return absl::InvalidArgumentError(Concat(kFile, ": ", message));
}

absl::StatusOr<TokenId> ReadId(const json& value, std::string_view what) {
  if (!value.is_number_integer()) return Invalid(Concat(what, ": the id is not an integer"));
  // Unsigned 64-bit values past the signed range are stored as unsigned.
  const bool huge =
      value.is_number_unsigned() && value.get<uint64_t>() >= static_cast<uint64_t>(kMaxVocabSize);
  const int64_t id = huge ? kMaxVocabSize : value.get<int64_t>();
  if (id < 0 || id >= kMaxVocabSize) {
    return Invalid(Concat(what, ": id ", value.dump(), " is not in [0, ", kMaxVocabSize, ")"));
  }
  return static_cast<TokenId>(id);
}

// Piece names and ids of the vocabulary and the added tokens together.
class TokenTable {
 public:
  absl::Status Add(std::string_view piece, TokenId id) {
    const auto [by_id, new_id] = names_.try_emplace(id, piece);
    if (!new_id && by_id->second != piece) {
      return Invalid(Concat("id ", id, " belongs to both ", Quoted(by_id->second), " and ", Quoted(piece)));
    }
    const auto [by_name, new_name] = ids_.try_emplace(piece, id);
    if (!new_name && by_name->second != id) {
      return Invalid(Concat(Quoted(piece), " has two ids, ", by_name->second, " and ", id));
    }
    largest_ = std::max(largest_, id);
    return absl::OkStatus();
  }

  absl::Status CheckDensity() const {
    if (ids_.empty()) return Invalid("the vocabulary is empty");
    const int64_t limit = static_cast<int64_t>(ids_.size()) + kMaxIdGap;
    if (largest_ >= limit) {
      return Invalid(Concat("id ", largest_, " is too large for ", ids_.size(), " pieces"));
    }
    return absl::OkStatus();
  }

  std::optional<TokenId> Find(std::string_view piece) const {
    const auto found = ids_.find(piece);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  bool Has(TokenId id) const { return names_.contains(id); }

 private:
  StringMap<TokenId> ids_;
  absl::flat_hash_map<TokenId, std::string> names_;
  TokenId largest_ = -1;
};

absl::Status ReadVocab(const json& model, TokenTable& table, ModelSpec& spec) {
  const json& vocab = JsonMember(model, "vocab");
  if (!vocab.is_object()) return Invalid("model.vocab is not an object");
  if (vocab.size() > static_cast<size_t>(kMaxVocabSize)) {
    return Invalid(Concat("model.vocab has ", vocab.size(), " pieces, more than ", kMaxVocabSize));
  }
  spec.vocab.reserve(vocab.size());
  for (const auto& [piece, value] : vocab.items()) {
    const absl::StatusOr<TokenId> id = ReadId(value, Concat("model.vocab ", Quoted(piece)));
    if (!id.ok()) return id.status();
    if (piece.empty()) return Invalid(Concat("model.vocab: the piece with id ", *id, " is empty"));
    if (absl::Status status = table.Add(piece, *id); !status.ok()) return status;
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

absl::Status ReadModel(const json& model, TokenTable& table, ModelSpec& spec) {
  if (!model.is_object()) return Invalid("model is not an object");
  const absl::StatusOr<std::string> type = JsonString(model, "type", "BPE", "tokenizer.json model");
  if (!type.ok()) return type.status();
  if (*type != "BPE") {
    return absl::UnimplementedError(
        Concat(kFile, ": model type ", Quoted(*type), " is not supported, only \"BPE\" is"));
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const absl::StatusOr<std::string> affix = JsonString(model, key, "", "tokenizer.json model");
    if (!affix.ok()) return affix.status();
    if (!affix->empty()) return absl::UnimplementedError(Concat(kFile, ": model.", key, " is not supported"));
  }
  const json& dropout = JsonMember(model, "dropout");
  if (!dropout.is_null() && dropout != 0) {
    return absl::UnimplementedError(Concat(kFile, ": model.dropout is not supported"));
  }
  const std::pair<const char*, bool*> flags[] = {{"fuse_unk", &spec.fuse_unk},
                                                 {"byte_fallback", &spec.byte_fallback},
                                                 {"ignore_merges", &spec.ignore_merges}};
  for (const auto& [key, flag] : flags) {
    const absl::StatusOr<bool> value = JsonBool(model, key, false, "tokenizer.json model");
    if (!value.ok()) return value.status();
    *flag = *value;
  }
  const absl::StatusOr<std::string> unk = JsonString(model, "unk_token", "", "tokenizer.json model");
  if (!unk.ok()) return unk.status();
  if (!unk->empty()) spec.unk_token = *unk;
  if (absl::Status status = ReadVocab(model, table, spec); !status.ok()) return status;
  return ReadMerges(model, spec);
}

absl::Status ReadAddedTokens(const json& root, TokenTable& table, std::vector<AddedToken>& tokens) {
  const json& list = JsonMember(root, "added_tokens");
  if (list.is_null()) return absl::OkStatus();
  if (!list.is_array()) return Invalid("added_tokens is not an array");
  absl::flat_hash_map<TokenId, size_t> seen;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = Concat("added_tokens ", i);
    const std::string file_where = Concat(kFile, ": ", where);
    AddedToken token;
    const absl::StatusOr<TokenId> id = ReadId(JsonMember(list[i], "id"), where);
    if (!id.ok()) return id.status();
    token.id = *id;
    absl::StatusOr<std::string> content = JsonString(list[i], "content", "", file_where);
    if (!content.ok()) return content.status();
    token.content = *std::move(content);
    if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes) {
      return Invalid(
          Concat(where, ": content has ", token.content.size(), " bytes, not 1 to ", kMaxAddedTokenBytes));
    }
    const absl::StatusOr<bool> special = JsonBool(list[i], "special", false, file_where);
    if (!special.ok()) return special.status();
    token.special = *special;
    // As in the library these files come from, only special tokens default to the text as written.
    const std::pair<const char*, bool*> flags[] = {{"lstrip", &token.lstrip},
                                                   {"rstrip", &token.rstrip},
                                                   {"single_word", &token.single_word},
                                                   {"normalized", &token.normalized}};
    token.normalized = !token.special;
    for (const auto& [key, flag] : flags) {
      const absl::StatusOr<bool> value = JsonBool(list[i], key, *flag, file_where);
      if (!value.ok()) return value.status();
      *flag = *value;
    }
    if (!seen.try_emplace(token.id, i).second) {
      return Invalid(Concat(where, ": id ", token.id, " is already that of added_tokens ", seen[token.id]));
    }
    if (absl::Status status = table.Add(token.content, token.id); !status.ok()) return status;
    tokens.push_back(std::move(token));
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
    if (!ids.is_array() || ids.size() > 16) {
      return Invalid(Concat("post_processor.special_tokens has no list of ids for ", Quoted(*name)));
    }
    for (const json& value : ids) {
      const absl::StatusOr<TokenId> id = ReadId(value, Concat("post_processor token ", Quoted(*name)));
      if (!id.ok()) return id.status();
      if (!table.Has(*id)) return Invalid(Concat("post_processor refers to unknown id ", *id));
      begin_ids.push_back(*id);
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
  return absl::UnimplementedError(Concat(kFile, ": post_processor ", Quoted(*type), " is not supported"));
}

// A token named in tokenizer_config.json: "<s>" or {"content": "<s>", ...}.
absl::StatusOr<std::optional<TokenId>> NamedToken(const json& config, const char* key,
                                                  const TokenTable& table) {
  const json& value = JsonMember(config, key);
  const absl::StatusOr<std::string> name = value.is_object()
                                               ? JsonString(value, "content", "", "tokenizer_config.json")
                                               : JsonString(config, key, "", "tokenizer_config.json");
  if (!name.ok()) return name.status();
  if (name->empty()) return std::optional<TokenId>();
  const std::optional<TokenId> id = table.Find(*name);
  if (!id.has_value()) {
    return absl::InvalidArgumentError(
        Concat("tokenizer_config.json: ", key, " ", Quoted(*name), " is not in the vocabulary"));
  }
  return id;
}

absl::StatusOr<std::string> ReadChatTemplate(const json& config) {
  const json& value = JsonMember(config, "chat_template");
  if (!value.is_array()) return JsonString(config, "chat_template", "", "tokenizer_config.json");
  for (const json& entry : value) {  // several templates by name; "default" is the plain conversation
    const absl::StatusOr<std::string> name =
        JsonString(entry, "name", "", "tokenizer_config.json chat_template");
    if (!name.ok()) return name.status();
    if (*name == "default") return JsonString(entry, "template", "", "tokenizer_config.json chat_template");
  }
  return std::string();
}

absl::Status ReadConfig(std::string_view config_json, const TokenTable& table, TokenizerSpec& spec) {
  if (config_json.empty()) return absl::OkStatus();
  const absl::StatusOr<json> config = ParseJsonObject(config_json, "tokenizer_config.json");
  if (!config.ok()) return config.status();
  const absl::StatusOr<std::optional<TokenId>> bos = NamedToken(*config, "bos_token", table);
  if (!bos.ok()) return bos.status();
  const absl::StatusOr<std::optional<TokenId>> eos = NamedToken(*config, "eos_token", table);
  if (!eos.ok()) return eos.status();
  spec.bos_id = *bos;
  spec.eos_id = *eos;
  absl::StatusOr<std::string> chat_template = ReadChatTemplate(*config);
  if (!chat_template.ok()) return chat_template.status();
  spec.chat_template = *std::move(chat_template);

  // An explicit add_bos_token decides over the template of tokenizer.json.
  const absl::StatusOr<bool> as_is =
      JsonBool(*config, "add_bos_token", !spec.begin_ids.empty(), "tokenizer_config.json");
  if (!as_is.ok()) return as_is.status();
  if (!*as_is) {
    spec.begin_ids.clear();
  } else if (spec.begin_ids.empty() && spec.bos_id.has_value()) {
    spec.begin_ids = {*spec.bos_id};
  }
  return absl::OkStatus();
}

}  // namespace

void MarkSpecialTokens(TokenizerSpec& spec) {
  for (AddedToken& token : spec.added_tokens) {
    const bool ends = std::find(spec.end_ids.begin(), spec.end_ids.end(), token.id) != spec.end_ids.end();
    if (ends || token.id == spec.bos_id) token.special = true;
    if (!token.special) continue;
    spec.special.insert(token.id);
    spec.model.not_text.insert(token.id);
  }
}

absl::StatusOr<TokenizerSpec> ParseTokenizerSpec(std::string_view tokenizer_json,
                                                 std::string_view config_json) {
  const absl::StatusOr<json> root = ParseJsonObject(tokenizer_json, kFile);
  if (!root.ok()) return root.status();
  TokenizerSpec spec;
  TokenTable table;
  if (absl::Status status = ReadModel(JsonMember(*root, "model"), table, spec.model); !status.ok())
    return status;
  if (absl::Status status = ReadAddedTokens(*root, table, spec.added_tokens); !status.ok()) return status;
  if (absl::Status status = table.CheckDensity(); !status.ok()) return status;
  if (absl::Status status = ReadPipeline(*root, spec); !status.ok()) return status;
  if (absl::Status status = ReadPostProcessor(JsonMember(*root, "post_processor"), table, spec.begin_ids);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = ReadConfig(config_json, table, spec); !status.ok()) return status;
  if (!spec.bos_id.has_value() && !spec.begin_ids.empty()) spec.bos_id = spec.begin_ids.front();

  if (spec.eos_id.has_value()) spec.end_ids = {*spec.eos_id};
  MarkSpecialTokens(spec);
  return spec;
}

}  // namespace memgate
