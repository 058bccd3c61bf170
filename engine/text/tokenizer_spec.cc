#include "engine/text/tokenizer_spec.h"

#include <algorithm>

namespace memgate {

void MarkSpecialTokens(TokenizerSpec& spec) {
  for (AddedToken& token : spec.added_tokens) {
    const bool ends = std::find(spec.end_ids.begin(), spec.end_ids.end(), token.id) != spec.end_ids.end();
    if (ends || token.id == spec.bos_id) token.special = true;
    if (!token.special) continue;
    spec.special.insert(token.id);
    spec.model.not_text.insert(token.id);
  }
}

}  // namespace memgate
