// The pieces and ids of a tokenizer file while it is read.
#ifndef MEMGATE_ENGINE_TEXT_TOKEN_TABLE_H_
#define MEMGATE_ENGINE_TEXT_TOKEN_TABLE_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "engine/text/strings.h"
#include "engine/text/tokenizer.h"

namespace memgate {

// Each piece has one id and each id one piece, the added tokens included. Errors are INVALID_ARGUMENT and do
// not name the file.
class TokenTable {
 public:
  absl::Status Add(std::string_view piece, TokenId id);

  // Ids may leave gaps, but only so many: tables are sized by the largest id.
  absl::Status CheckDensity() const;

  std::optional<TokenId> Find(std::string_view piece) const;
  bool Has(TokenId id) const { return names_.contains(id); }

 private:
  StringMap<TokenId> ids_;
  absl::flat_hash_map<TokenId, std::string> names_;
  TokenId largest_ = -1;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKEN_TABLE_H_
