// Small tokenizer.model files for tests, written field by field.
#ifndef MEMGATE_TESTS_TEXT_SENTENCEPIECE_FILES_H_
#define MEMGATE_TESTS_TEXT_SENTENCEPIECE_FILES_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace memgate {

// Fields of a protobuf message.
std::string VarintField(uint32_t number, uint64_t value);
std::string FloatField(uint32_t number, float value);
std::string BytesField(uint32_t number, std::string_view bytes);

// A piece of the vocabulary; `type` as in SentencePieceModel::PieceType.
std::string PieceField(std::string_view text, float score, int type = 1);

// "<unk>", "<s>" and "</s>" as 0..2, "▁", "a".."f" as 3..9, "▁a", "bc" and "▁abc" as 10..12, with scores that
// make BPE merge "▁abc". `kind`: 1 Unigram, 2 BPE. Nothing is normalised but spaces, one is put first.
std::string TinySentencePieceFile(int kind);

}  // namespace memgate

#endif  // MEMGATE_TESTS_TEXT_SENTENCEPIECE_FILES_H_
