#include "engine/text/charsmap.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// A unit of the double array (Darts-clone): the label that leads to a node, whether a key ends at it, and how
// far its children are. The unit of a leaf holds the value of the key in its lower 31 bits.
constexpr uint32_t kValueMask = 0x7FFFFFFF;
uint32_t Label(uint32_t unit) { return unit & 0x800000FF; }
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

// Published maps replace some tens of bytes. Without these bounds a few bytes of text could take any work.
constexpr size_t kMostKeyBytes = 256, kMostReplacementBytes = 1024;

bool IsInsideCharacter(std::string_view text, size_t offset) {
  return offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xC0) == 0x80;
}

absl::Status Invalid(std::string_view message) {
  return absl::InvalidArgumentError(Concat("precompiled_charsmap: ", message));
}

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Parse(std::string_view blob) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "units are read as they lie");
  uint32_t trie_bytes = 0;
  if (blob.size() < sizeof(trie_bytes)) return Invalid("shorter than its header");
  std::memcpy(&trie_bytes, blob.data(), sizeof(trie_bytes));
  blob.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes % sizeof(uint32_t) != 0 || trie_bytes == 0 || trie_bytes > blob.size()) {
    return Invalid(Concat("a trie of ", trie_bytes, " bytes in ", blob.size()));
  }
  Charsmap map;
  map.units_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(map.units_.data(), blob.data(), trie_bytes);
  map.replacements_ = blob.substr(trie_bytes);
  if (map.replacements_.empty() || map.replacements_.back() != '\0') {
    return Invalid("the last replacement has no end");
  }
  if (!CheckUtf8(map.replacements_).ok()) return Invalid("a replacement is not valid UTF-8");
  for (size_t i = 0; i < map.units_.size(); ++i) {
    const uint32_t unit = map.units_[i];
    if (!HasLeaf(unit) || Label(unit) > 0xFF) continue;
    const uint32_t leaf = static_cast<uint32_t>(i) ^ Offset(unit);
    if (leaf >= map.units_.size() || !map.IsReplacement(map.units_[leaf] & kValueMask)) {
      return Invalid(Concat("unit ", i, " of the trie refers to no replacement"));
    }
    const auto replacement = std::string_view(map.replacements_).substr(map.units_[leaf] & kValueMask);
    if (replacement.substr(0, kMostReplacementBytes + 1).find('\0') == replacement.npos) {
      return Invalid(
          Concat("unit ", i, " of the trie: a replacement of more than ", kMostReplacementBytes, " bytes"));
    }
  }
  return map;
}

// Whether a replacement can start at `offset`: within the text of all of them, not inside a character.
bool Charsmap::IsReplacement(uint32_t offset) const {
  return offset < replacements_.size() && (static_cast<unsigned char>(replacements_[offset]) & 0xC0) != 0x80;
}

Charsmap::Match Charsmap::Longest(std::string_view text) const {
  Match longest;
  uint32_t position = Offset(units_[0]);
  uint32_t found = 0;
  const size_t most = std::min(text.size(), kMostKeyBytes);
  for (size_t i = 0; i < most; ++i) {
    const uint32_t byte = static_cast<unsigned char>(text[i]);
    position ^= byte;
    const uint32_t unit = UnitAt(position);
    // A zero byte would be taken for the label of a leaf.
    if (byte == 0 || Label(unit) != byte) break;
    position ^= Offset(unit);
    if (!HasLeaf(unit) || IsInsideCharacter(text, i + 1)) continue;
    found = UnitAt(position) & kValueMask;
    longest.bytes = i + 1;
  }
  if (longest.bytes > 0) longest.replacement = std::string_view(replacements_.data() + found);
  return longest;
}

}  // namespace memgate
