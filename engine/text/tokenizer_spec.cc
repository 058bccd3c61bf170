#include "engine/text/tokenizer_spec.h"

#include <algorithm>
#include <iterator>

namespace memgate {

namespace {

// What published models call the token that ends an answer. llama.cpp goes by such names, too, and files are
// written for it.
constexpr std::string_view kEndsOfTurns[] = {
    "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>",       "<|return|>",           "<end_of_turn>",
    "<EOT>",      "[EOT]",      "<turn|>",    "<|endoftext|>", "<|end_of_text|>",      "<end_of_utterance>",
    "<|call|>",   "<eos>",      "[EOS]",      "</s>",          "<｜end▁of▁sentence｜>"};

void AddEndsOfTurns(TokenizerSpec& spec) {
  for (const AddedToken& token : spec.added_tokens) {
    const bool may_be_html = token.content == "</s>" && !token.special;
    if (IsEndOfTurn(token.content) && !may_be_html) AddEndId(token.id, spec);
  }
}

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

bool IsEndOfTurn(std::string_view content) {
  return std::find(std::begin(kEndsOfTurns), std::end(kEndsOfTurns), content) != std::end(kEndsOfTurns);
}

void AddEndId(TokenId id, TokenizerSpec& spec) {
  if (std::find(spec.end_ids.begin(), spec.end_ids.end(), id) == spec.end_ids.end()) {
    spec.end_ids.push_back(id);
  }
}

void MarkSpecialTokens(TokenizerSpec& spec) {
  AddEndsOfTurns(spec);
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
