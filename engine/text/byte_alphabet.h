// The printable spelling of bytes that byte-level BPE vocabularies use.
#ifndef MEMGATE_ENGINE_TEXT_BYTE_ALPHABET_H_
#define MEMGATE_ENGINE_TEXT_BYTE_ALPHABET_H_

#include <optional>
#include <string>
#include <string_view>

namespace memgate {

// Printable Latin-1 bytes spell themselves; the other 68, in ascending order, are U+0100, U+0101, ...
char32_t SpellByte(unsigned char byte);

// The bytes that `piece` spells, or nothing if it holds a character outside the alphabet.
// REQUIRES: valid UTF-8.
std::optional<std::string> BytesOfSpelling(std::string_view piece);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_BYTE_ALPHABET_H_
