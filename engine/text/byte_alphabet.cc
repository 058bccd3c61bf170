#include "engine/text/byte_alphabet.h"

#include <array>

#include "engine/text/unicode.h"

namespace memgate {
namespace {

constexpr bool SpellsItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr std::array<char32_t, 256> MakeSpelling() {
  std::array<char32_t, 256> spelling{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) spelling[byte] = SpellsItself(byte) ? byte : next++;
  return spelling;
}

constexpr std::array<char32_t, 256> kSpelling = MakeSpelling();
constexpr char32_t kSpellingEnd = 0x144;  // one past the largest: 0x100 + 68

constexpr std::array<int, kSpellingEnd> MakeInverse() {
  std::array<int, kSpellingEnd> inverse{};
  for (int& byte : inverse) byte = -1;
  for (int byte = 0; byte < 256; ++byte) inverse[kSpelling[byte]] = byte;
  return inverse;
}

constexpr std::array<int, kSpellingEnd> kInverse = MakeInverse();

}  // namespace

char32_t SpellByte(unsigned char byte) { return kSpelling[byte]; }

std::optional<std::string> BytesOfSpelling(std::string_view piece) {
  std::string bytes;
  bytes.reserve(piece.size());
  while (!piece.empty()) {
    const Utf8Step step = ReadUtf8(piece);
    if (step.state != Utf8State::kValid || step.code_point >= kSpellingEnd) return std::nullopt;
    const int byte = kInverse[step.code_point];
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    piece.remove_prefix(step.bytes);
  }
  return bytes;
}

}  // namespace memgate
