// Small tokenizers with known merges, built as the tokenizer.json a model would ship.
#ifndef MEMGATE_TESTS_TEXT_TINY_TOKENIZERS_H_
#define MEMGATE_TESTS_TEXT_TINY_TOKENIZERS_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"

namespace memgate {

// Byte-level BPE: all 256 bytes as ids 0..255 in byte order, then "he", "ll", "hell", "hello", "Ġw" (" w"),
// "or", "Ġwor" and "ĊĊ" (two line breaks) as 256..263, then <|end|> (special) and <note> (not special) as 264
// and 265. Splits like GPT-2.
nlohmann::json TinyByteLevelJson();
inline constexpr TokenId kTinyEnd = 264;
inline constexpr TokenId kTinyNote = 265;

// The same with the splitting pattern and the NFC normaliser of Qwen2.
nlohmann::json TinyQwenJson();

// SentencePiece style: <unk>, <s>, </s> as 0..2, the 256 byte pieces as 3..258, then "▁", "a".."z", and
// merges that end in "▁the" and "▁cat". Prepend and Replace normalisers, a template that puts <s> first.
nlohmann::json TinySentencePieceJson();

// Unigram as T5 has it: "A" and "T" are replaced by small letters, several spaces made one, words marked.
// <unk> and </s> as 0 and 1, then "▁", "▁the", "▁c", "at", "a".."z" with log probabilities as scores.
nlohmann::json TinyUnigramJson();

// The tokenizer of `json`; fails the test if it is refused.
std::unique_ptr<Tokenizer> MakeTokenizer(const nlohmann::json& json, std::string_view config = "");

// Any valid UTF-8, from all planes, zero bytes, line breaks and combining marks among it; the same for the
// same seed. Without U+2581, which SentencePiece-style tokenizers cannot tell from a space.
std::string RandomUtf8(uint32_t seed, size_t characters);

// The pieces that `text` is cut into, as the vocabulary spells them.
std::vector<std::string> Pieces(const Tokenizer& tokenizer, std::string_view text,
                                TextPosition position = TextPosition::kContinuation,
                                SpecialTokens special = SpecialTokens::kParse);

}  // namespace memgate

#endif  // MEMGATE_TESTS_TEXT_TINY_TOKENIZERS_H_
