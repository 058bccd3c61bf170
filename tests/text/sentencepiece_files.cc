#include "tests/text/sentencepiece_files.h"

namespace memgate {
namespace {

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string Tag(uint32_t number, uint32_t wire_type) { return Varint(number << 3 | wire_type); }

}  // namespace

std::string VarintField(uint32_t number, uint64_t value) { return Tag(number, 0) + Varint(value); }

std::string FloatField(uint32_t number, float value) {
  return Tag(number, 5) + std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string BytesField(uint32_t number, std::string_view bytes) {
  return Tag(number, 2) + Varint(bytes.size()) + std::string(bytes);
}

std::string PieceField(std::string_view text, float score, int type) {
  return BytesField(1, BytesField(1, text) + FloatField(2, score) + VarintField(3, type));
}

std::string TinySentencePieceFile(int kind) {
  std::string file = PieceField("<unk>", 0, 2) + PieceField("<s>", 0, 3) + PieceField("</s>", 0, 3);
  file += PieceField("▁", -5);
  for (char c = 'a'; c <= 'f'; ++c) file += PieceField(std::string(1, c), -6);
  file += PieceField("▁a", -2) + PieceField("bc", -3) + PieceField("▁abc", -4);
  file += BytesField(2, VarintField(3, kind));                         // trainer_spec
  return file + BytesField(3, VarintField(3, 1) + VarintField(4, 0));  // normalizer_spec
}

}  // namespace memgate
