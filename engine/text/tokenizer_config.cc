#include "engine/text/tokenizer_config.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "engine/text/json_reading.h"
#include "engine/text/strings.h"
#include "engine/text/token_json.h"

namespace memgate {
namespace {

using nlohmann::json;

constexpr std::string_view kFile = "tokenizer_config.json";

// A token that the file names: "<s>" or {"content": "<s>", ...}.
absl::StatusOr<std::optional<TokenId>> NamedToken(const json& config, const char* key,
                                                  const TokenTable& table) {
  const json& value = JsonMember(config, key);
  const absl::StatusOr<std::string> name =
      value.is_object() ? JsonString(value, "content", "", kFile) : JsonString(config, key, "", kFile);
  if (!name.ok()) return name.status();
  if (name->empty()) return std::optional<TokenId>();
  const std::optional<TokenId> id = table.Find(*name);
  if (!id.has_value()) {
    return absl::InvalidArgumentError(
        Concat(kFile, ": ", key, " ", Quoted(*name), " is not in the vocabulary"));
  }
  return id;
}

// One template, or a list of them with names.
absl::Status ReadChatTemplates(const json& config, std::map<std::string, std::string>& templates) {
  const json& value = JsonMember(config, "chat_template");
  const auto add = [&](const json& object, const char* key, const std::string& where, std::string name) {
    absl::StatusOr<std::string> source = JsonString(object, key, "", where);
    if (source.ok() && !source->empty()) templates.insert_or_assign(std::move(name), *std::move(source));
    return source.status();
  };
  if (!value.is_array()) return add(config, "chat_template", std::string(kFile), "default");
  const std::string where = Concat(kFile, " chat_template");
  for (const json& entry : value) {
    const absl::StatusOr<std::string> name = JsonString(entry, "name", "", where);
    if (!name.ok()) return name.status();
    if (absl::Status status = add(entry, "template", where, *name); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<json> ParseTokenizerConfig(std::string_view config_json) {
  if (config_json.empty()) return json::object();
  return ParseJsonObject(config_json, kFile);
}

absl::Status ReadAddedTokensDecoder(const json& config, TokenTable& table, std::vector<AddedToken>& tokens) {
  const json& entries = JsonMember(config, "added_tokens_decoder");
  if (entries.is_null()) return absl::OkStatus();
  if (!entries.is_object()) {
    return absl::InvalidArgumentError(Concat(kFile, ": added_tokens_decoder is not an object"));
  }
  for (const auto& [key, entry] : entries.items()) {
    const std::string where = Concat(kFile, ": added_tokens_decoder ", Quoted(key));
    int64_t number = -1;
    if (!absl::SimpleAtoi(key, &number)) return absl::InvalidArgumentError(Concat(where, ": not an id"));
    const absl::StatusOr<TokenId> id = ReadTokenId(json(number), where);
    if (!id.ok()) return id.status();
    if (table.Has(*id)) continue;
    absl::StatusOr<AddedToken> token = ReadAddedToken(entry, *id, where);
    if (!token.ok()) return token.status();
    if (absl::Status status = table.Add(token->content, *id); !status.ok()) {
      return absl::InvalidArgumentError(Concat(where, ": ", status.message()));
    }
    tokens.push_back(*std::move(token));
  }
  return absl::OkStatus();
}

absl::Status ReadTokenizerConfig(const json& config, const TokenTable& table, TokenizerSpec& spec) {
  for (const auto& [key, id] : {std::pair{"bos_token", &spec.bos_id}, {"eos_token", &spec.eos_id}}) {
    const absl::StatusOr<std::optional<TokenId>> named = NamedToken(config, key, table);
    if (!named.ok()) return named.status();
    if (named->has_value()) *id = *named;
  }
  if (absl::Status s = ReadChatTemplates(config, spec.chat_templates); !s.ok()) return s;

  // An explicit add_bos_token decides over what another file says.
  const absl::StatusOr<bool> add_bos = JsonBool(config, "add_bos_token", !spec.begin_ids.empty(), kFile);
  if (!add_bos.ok()) return add_bos.status();
  if (!*add_bos) {
    spec.begin_ids.clear();
  } else if (spec.begin_ids.empty() && spec.bos_id.has_value()) {
    spec.begin_ids = {*spec.bos_id};
  }
  return absl::OkStatus();
}

}  // namespace memgate
