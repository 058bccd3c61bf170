#include "engine/text/tokenizer_spec.h"

#include <algorithm>

namespace memgate {

namespace {

// Finds them in texts, too, where the file lists them among the pieces only.
void AddUnlisted(const std::vector<TokenId>& ids, TokenizerSpec& spec) {
  const auto is_listed = [&](TokenId id) {
    return std::any_of(spec.added_tokens.begin(), spec.added_tokens.end(),
                       [&](const AddedToken& token) { return token.id == id; });
  };
  for (const TokenId id : ids) {
    if (is_listed(id)) continue;
    const auto entry = std::find_if(spec.model.vocab.begin(), spec.model.vocab.end(),
                                    [&](const auto& piece) { return piece.second == id; });
    if (entry == spec.model.vocab.end()) continue;
    spec.special.insert(id);
    spec.model.not_text.insert(id);
    if (entry->first.size() > kMaxAddedTokenBytes) continue;
    spec.added_tokens.push_back({.id = id, .content = entry->first, .special = true});
  }
}

}  // namespace

void MarkSpecialTokens(TokenizerSpec& spec) {
  std::vector<TokenId> ids = spec.end_ids;
  if (spec.bos_id.has_value()) ids.push_back(*spec.bos_id);
  AddUnlisted(ids, spec);
  for (AddedToken& token : spec.added_tokens) {
    const bool ends = std::find(spec.end_ids.begin(), spec.end_ids.end(), token.id) != spec.end_ids.end();
    if (ends || token.id == spec.bos_id) token.special = true;
    if (!token.special) continue;
    spec.special.insert(token.id);
    spec.model.not_text.insert(token.id);
  }
}

}  // namespace memgate
