#include "engine/text/token_json.h"

#include <cstdint>
#include <string>
#include <utility>

#include "engine/text/json_reading.h"
#include "engine/text/strings.h"
#include "engine/text/token_model.h"

namespace memgate {

using nlohmann::json;

absl::StatusOr<TokenId> ReadTokenId(const json& value, std::string_view where) {
  if (!value.is_number_integer()) {
    return absl::InvalidArgumentError(Concat(where, ": the id is not an integer"));
  }
  // Unsigned 64-bit values past the signed range are stored as unsigned.
  const bool huge =
      value.is_number_unsigned() && value.get<uint64_t>() >= static_cast<uint64_t>(kMaxVocabSize);
  const int64_t id = huge ? kMaxVocabSize : value.get<int64_t>();
  if (id < 0 || id >= kMaxVocabSize) {
    return absl::InvalidArgumentError(
        Concat(where, ": id ", value.dump(), " is not in [0, ", kMaxVocabSize, ")"));
  }
  return static_cast<TokenId>(id);
}

absl::StatusOr<AddedToken> ReadAddedToken(const json& entry, TokenId id, std::string_view where) {
  AddedToken token{.id = id};
  absl::StatusOr<std::string> content = JsonString(entry, "content", "", where);
  if (!content.ok()) return content.status();
  token.content = *std::move(content);
  if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes) {
    return absl::InvalidArgumentError(
        Concat(where, ": content has ", token.content.size(), " bytes, not 1 to ", kMaxAddedTokenBytes));
  }
  const absl::StatusOr<bool> special = JsonBool(entry, "special", false, where);
  if (!special.ok()) return special.status();
  token.special = *special;
  // As in the library these files come from, only special tokens default to the text as written.
  token.normalized = !token.special;
  const std::pair<const char*, bool*> flags[] = {{"lstrip", &token.lstrip},
                                                 {"rstrip", &token.rstrip},
                                                 {"single_word", &token.single_word},
                                                 {"normalized", &token.normalized}};
  for (const auto& [key, flag] : flags) {
    const absl::StatusOr<bool> value = JsonBool(entry, key, *flag, where);
    if (!value.ok()) return value.status();
    *flag = *value;
  }
  return token;
}

}  // namespace memgate
