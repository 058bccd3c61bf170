#include "tests/text/charsmap_blobs.h"

#include <cstdint>
#include <vector>

namespace memgate {

std::string CharsmapBlob(const std::map<std::string, std::string>& replacements) {
  // Each node of the trie gets 256 places of its own for its children: wasteful, but without search.
  std::vector<uint32_t> units = {0};
  std::map<std::string, uint32_t> place_of = {{"", 0}};  // of each prefix of a key
  std::map<std::string, uint32_t> children_of;
  const auto children = [&](const std::string& prefix) {
    const auto [found, added] =
        children_of.emplace(prefix, static_cast<uint32_t>(units.size() + 255) / 256 * 256);
    if (added) {
      units.resize(found->second + 256);
      const uint32_t place = place_of[prefix];
      units[place] |= (place ^ found->second) << 10;
    }
    return found->second;
  };
  std::string texts;
  for (const auto& [key, text] : replacements) {
    for (size_t i = 0; i < key.size(); ++i) {
      const unsigned char label = static_cast<unsigned char>(key[i]);
      const uint32_t place = children(key.substr(0, i)) + label;
      place_of[key.substr(0, i + 1)] = place;
      units[place] |= label;
    }
    const uint32_t leaf = children(key);  // the child with label 0
    units[place_of[key]] |= 1 << 8;
    units[leaf] = 0x80000000u | static_cast<uint32_t>(texts.size());
    texts += text;
    texts.push_back('\0');
  }
  const uint32_t trie_bytes = static_cast<uint32_t>(units.size() * sizeof(uint32_t));
  std::string blob(reinterpret_cast<const char*>(&trie_bytes), sizeof(trie_bytes));
  blob.append(reinterpret_cast<const char*>(units.data()), trie_bytes);
  return blob + texts;
}

}  // namespace memgate
