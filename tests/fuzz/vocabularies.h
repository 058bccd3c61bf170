// Vocabularies with every byte, for targets whose input is the text.
#ifndef MEMGATE_TESTS_FUZZ_VOCABULARIES_H_
#define MEMGATE_TESTS_FUZZ_VOCABULARIES_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/byte_alphabet.h"
#include "engine/text/gguf_vocabulary.h"
#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"
#include "tests/fuzz/input_parts.h"

namespace memgate {

inline void AddToken(std::string_view piece, GgufTokenType type, float score, GgufVocabulary& vocabulary) {
  vocabulary.tokens.emplace_back(piece);
  vocabulary.types.push_back(static_cast<int32_t>(type));
  vocabulary.scores.push_back(score);
}

// SentencePiece's kinds: bytes for what has no piece, then `pieces`, the best first.
inline GgufVocabulary SentencePieceVocabulary(std::string_view model,
                                              const std::vector<std::string>& pieces) {
  GgufVocabulary vocabulary;
  vocabulary.model = model;
  AddToken("<unk>", GgufTokenType::kUnknown, 0, vocabulary);
  AddToken("<s>", GgufTokenType::kControl, 0, vocabulary);
  AddToken("</s>", GgufTokenType::kControl, 0, vocabulary);
  for (int byte = 0; byte < 256; ++byte) {
    char piece[8];
    std::snprintf(piece, sizeof(piece), "<0x%02X>", byte);
    AddToken(piece, GgufTokenType::kByte, 0, vocabulary);
  }
  float score = 0;
  for (const std::string& piece : pieces) AddToken(piece, GgufTokenType::kNormal, score -= 1, vocabulary);
  AddToken("<|x|>", GgufTokenType::kControl, 0, vocabulary);
  vocabulary.unknown_id = 0;
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  return vocabulary;
}

// Byte-level BPE with a pre-tokeniser by its name. merges: "left right", best first.
inline GgufVocabulary ByteLevelVocabulary(std::string_view pre, const std::vector<std::string>& merges) {
  GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    std::string piece;
    AppendUtf8(SpellByte(static_cast<unsigned char>(byte)), piece);
    AddToken(piece, GgufTokenType::kNormal, 0, vocabulary);
  }
  for (const std::string& merge : merges) {
    std::string_view rest = merge;
    const std::string left(TakePart(rest, ' '));
    AddToken(left + std::string(rest), GgufTokenType::kNormal, 0, vocabulary);
  }
  vocabulary.merges = merges;
  AddToken("<|x|>", GgufTokenType::kControl, 0, vocabulary);
  vocabulary.eos_id = static_cast<int32_t>(vocabulary.tokens.size()) - 1;
  return vocabulary;
}

inline std::unique_ptr<Tokenizer> MakeTokenizer(const GgufVocabulary& vocabulary) {
  auto tokenizer = Tokenizer::FromGguf(vocabulary);
  Require(tokenizer.ok());
  return *std::move(tokenizer);
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_VOCABULARIES_H_
