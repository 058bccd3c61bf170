#include "engine/text/gguf_tokenizer_spec.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "engine/text/gguf_pre_tokenizer.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

absl::Status Invalid(std::string_view key, std::string_view message) {
  return absl::InvalidArgumentError(Concat("tokenizer.ggml.", key, ": ", message));
}

absl::Status CheckCount(std::string_view key, size_t count, size_t tokens) {
  if (count == 0 || count == tokens) return absl::OkStatus();
  return Invalid(key, Concat(count, " entries, not one for each of ", tokens, " tokens"));
}

absl::Status CheckId(std::string_view key, std::optional<int32_t> id,
                     const std::vector<std::string>& tokens) {
  if (!id.has_value()) return absl::OkStatus();
  if (*id < 0 || static_cast<size_t>(*id) >= tokens.size()) {
    return Invalid(key, Concat(*id, " is not the id of one of ", tokens.size(), " tokens"));
  }
  if (tokens[*id].empty()) return Invalid(key, Concat("token ", *id, " is empty"));
  return absl::OkStatus();
}

absl::Status CheckConsistency(const GgufVocabulary& vocabulary) {
  const size_t tokens = vocabulary.tokens.size();
  if (tokens == 0) return Invalid("tokens", "the vocabulary is empty");
  if (tokens > static_cast<size_t>(kMaxVocabSize)) {
    return Invalid("tokens", Concat(tokens, " tokens, more than ", kMaxVocabSize));
  }
  for (size_t id = 0; id < tokens; ++id) {
    if (CheckUtf8(vocabulary.tokens[id]).ok()) continue;
    return Invalid("tokens", Concat("token ", id, " ", Quoted(vocabulary.tokens[id]), " is not valid UTF-8"));
  }
  absl::Status status = CheckCount("scores", vocabulary.scores.size(), tokens);
  if (status.ok()) status = CheckCount("token_type", vocabulary.types.size(), tokens);
  for (const auto& [key, id] : {std::pair{"bos_token_id", vocabulary.bos_id},
                                {"eos_token_id", vocabulary.eos_id},
                                {"eot_token_id", vocabulary.eot_id},
                                {"unknown_token_id", vocabulary.unknown_id}}) {
    if (status.ok()) status = CheckId(key, id, vocabulary.tokens);
  }
  return status;
}

GgufTokenType TypeOf(const GgufVocabulary& vocabulary, size_t id) {
  return vocabulary.types.empty() ? GgufTokenType::kNormal : static_cast<GgufTokenType>(vocabulary.types[id]);
}

// Begin and end tokens count as control tokens, whatever their type, and so do ends of turns.
absl::Status AddTokens(const GgufVocabulary& vocabulary, TokenizerSpec& spec) {
  spec.bos_id = vocabulary.bos_id;
  spec.eos_id = vocabulary.eos_id;
  if (vocabulary.eos_id.has_value()) AddEndId(*vocabulary.eos_id, spec);
  if (vocabulary.eot_id.has_value()) AddEndId(*vocabulary.eot_id, spec);
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& piece = vocabulary.tokens[i];
    const TokenId id = static_cast<TokenId>(i);
    if (piece.empty()) continue;  // holds an id, and no text becomes it
    spec.model.vocab.emplace_back(piece, id);
    if (!vocabulary.scores.empty()) spec.model.scores.push_back(vocabulary.scores[i]);
    const GgufTokenType type = TypeOf(vocabulary, i);
    if (type == GgufTokenType::kByte) spec.model.not_text.insert(id);
    if (type == GgufTokenType::kUnused) spec.model.unused.insert(id);
    const bool is_named = id == vocabulary.bos_id || id == vocabulary.eos_id || id == vocabulary.eot_id;
    // Converters write some of them as normal tokens. One that is HTML, too, is left as the file says.
    const bool ends_a_turn = type == GgufTokenType::kNormal && IsEndOfTurn(piece) && piece != "</s>";
    const bool control =
        type == GgufTokenType::kControl || type == GgufTokenType::kUnknown || is_named || ends_a_turn;
    if (!control && type != GgufTokenType::kUserDefined) continue;
    if (piece.size() > kMaxAddedTokenBytes) {
      return Invalid("tokens", Concat("token ", id, " is looked for in texts and has ", piece.size(),
                                      " bytes, more than ", kMaxAddedTokenBytes));
    }
    spec.added_tokens.push_back({.id = id, .content = piece, .special = control});
  }
  return absl::OkStatus();
}

// Phi-3 was trained with its role tokens swallowing the line break after them; GGUF has no place to say so.
void AddPhi3Flags(TokenizerSpec& spec) {
  const auto has = [&](std::string_view content) {
    return std::any_of(spec.added_tokens.begin(), spec.added_tokens.end(),
                       [&](const AddedToken& token) { return token.content == content; });
  };
  if (!has("<|assistant|>") || !has("<|placeholder1|>")) return;
  for (AddedToken& token : spec.added_tokens) {
    token.rstrip = token.content != "<unk>" && token.content != "<s>" && token.content != "<|endoftext|>";
  }
}

std::optional<std::string> UnknownToken(const GgufVocabulary& vocabulary) {
  if (vocabulary.unknown_id.has_value()) return vocabulary.tokens[*vocabulary.unknown_id];
  for (size_t id = 0; id < vocabulary.types.size(); ++id) {
    if (TypeOf(vocabulary, id) == GgufTokenType::kUnknown) return vocabulary.tokens[id];
  }
  return std::nullopt;
}

// What its two kinds of model have in common.
absl::Status ReadSentencePiece(const GgufVocabulary& vocabulary, TokenizerSpec& spec) {
  if (vocabulary.scores.empty()) return Invalid("scores", "missing");
  spec.model.alphabet = Alphabet::kCharacters;
  spec.model.fuse_unk = true;
  spec.model.unk_token = UnknownToken(vocabulary);
  return absl::OkStatus();
}

// "llama": SentencePiece's BPE. Texts are only escaped; its other normalisations are not in such files.
absl::Status ReadSentencePieceBpe(const GgufVocabulary& vocabulary, TokenizerSpec& spec) {
  if (absl::Status status = ReadSentencePiece(vocabulary, spec); !status.ok()) return status;
  spec.model.byte_fallback = true;
  spec.strips_leading_space = vocabulary.add_space_prefix.value_or(true);
  if (spec.strips_leading_space) spec.normalizer.push_back(PrependRule{std::string(kSpaceMark)});
  spec.normalizer.push_back(ReplaceRule{" ", std::string(kSpaceMark)});
  if (vocabulary.add_bos.value_or(true) && spec.bos_id.has_value()) spec.begin_ids = {*spec.bos_id};
  AddPhi3Flags(spec);
  return absl::OkStatus();
}

// "t5": SentencePiece's Unigram, with its normaliser. The defaults are those of the files' first reader.
absl::Status ReadUnigram(const GgufVocabulary& vocabulary, TokenizerSpec& spec) {
  if (absl::Status status = ReadSentencePiece(vocabulary, spec); !status.ok()) return status;
  spec.model.kind = ModelKind::kUnigram;
  const bool has_bytes = std::find(vocabulary.types.begin(), vocabulary.types.end(),
                                   static_cast<int32_t>(GgufTokenType::kByte)) != vocabulary.types.end();
  spec.model.byte_fallback = has_bytes;
  SentencePieceRule rule;
  rule.charsmap = vocabulary.precompiled_charsmap;
  rule.add_dummy_prefix = vocabulary.add_space_prefix.value_or(false);
  rule.remove_extra_spaces = vocabulary.remove_extra_whitespaces.value_or(false);
  rule.space = kSpaceMark;
  spec.strips_leading_space = rule.add_dummy_prefix || rule.remove_extra_spaces;
  spec.normalizer.push_back(std::move(rule));
  if (vocabulary.add_bos.value_or(false) && spec.bos_id.has_value()) spec.begin_ids = {*spec.bos_id};
  return absl::OkStatus();
}

// Whether text can only become some of the tokens through merges: those of more than one character.
bool NeedsMerges(const GgufVocabulary& vocabulary) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (TypeOf(vocabulary, id) != GgufTokenType::kNormal) continue;
    const std::string& piece = vocabulary.tokens[id];
    const auto begins = [](char byte) { return (byte & 0xC0) != 0x80; };  // a UTF-8 character
    if (std::count_if(piece.begin(), piece.end(), begins) > 1) return true;
  }
  return false;
}

absl::Status ReadMerges(const GgufVocabulary& vocabulary, ModelSpec& model) {
  if (vocabulary.merges.empty() && NeedsMerges(vocabulary)) return Invalid("merges", "missing");
  model.merges.reserve(vocabulary.merges.size());
  for (const std::string& merge : vocabulary.merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos || space + 1 == merge.size()) {
      return Invalid("merges",
                     Concat("merge ", model.merges.size(), " ", Quoted(merge), " is not two pieces"));
    }
    model.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return absl::OkStatus();
}

// "gpt2": byte-level BPE.
absl::Status ReadByteLevelBpe(const GgufVocabulary& vocabulary, TokenizerSpec& spec) {
  const GgufPreTokenizer* pre = FindGgufPreTokenizer(vocabulary.pre);
  if (pre == nullptr) {
    return absl::UnimplementedError(
        Concat("tokenizer.ggml.pre: pre-tokeniser ", Quoted(vocabulary.pre), " is not supported"));
  }
  for (const std::string_view pattern : pre->patterns) {
    spec.pre_tokenizer.push_back(SplitRule{std::string(pattern)});
  }
  if (pre->composes) spec.normalizer.push_back(UnicodeRule{NormalizationForm::kNfc});
  spec.model.scores.clear();
  spec.model.alphabet = Alphabet::kBytes;
  spec.model.ignore_merges = pre->ignore_merges;
  if (vocabulary.add_bos.value_or(pre->add_bos) && spec.bos_id.has_value()) spec.begin_ids = {*spec.bos_id};
  return ReadMerges(vocabulary, spec.model);
}

}  // namespace

absl::StatusOr<TokenizerSpec> GgufTokenizerSpec(const GgufVocabulary& vocabulary) {
  if (absl::Status status = CheckConsistency(vocabulary); !status.ok()) return status;
  TokenizerSpec spec;
  spec.chat_templates = vocabulary.chat_templates;
  absl::Status status = AddTokens(vocabulary, spec);
  if (!status.ok()) return status;
  if (vocabulary.model == "llama") {
    status = ReadSentencePieceBpe(vocabulary, spec);
  } else if (vocabulary.model == "t5") {
    status = ReadUnigram(vocabulary, spec);
  } else if (vocabulary.model == "gpt2") {
    status = ReadByteLevelBpe(vocabulary, spec);
  } else {
    status = absl::UnimplementedError(
        Concat("tokenizer.ggml.model: tokenizer ", Quoted(vocabulary.model), " is not supported"));
  }
  if (!status.ok()) return status;
  MarkSpecialTokens(spec);
  return spec;
}

}  // namespace memgate
