// SentencePiece's table of what characters are replaced by before a text is cut: precompiled_charsmap.
#ifndef MEMGATE_ENGINE_TEXT_CHARSMAP_H_
#define MEMGATE_ENGINE_TEXT_CHARSMAP_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace memgate {

// Thread-safe after construction.
class Charsmap {
 public:
  // `blob` as model files hold it: the bytes of a trie (u32, little-endian), a double array of so many bytes,
  // and the replacements, each valid UTF-8 and ended by a zero byte. INVALID_ARGUMENT if it is not of that
  // form or a leaf of the trie refers to no replacement.
  static absl::StatusOr<Charsmap> Parse(std::string_view blob);

  struct Match {
    size_t bytes = 0;  // 0: the text does not start with anything that is replaced
    std::string_view replacement;
  };
  // The longest replaced string that `text` starts with.
  Match Longest(std::string_view text) const;

 private:
  uint32_t UnitAt(uint32_t position) const { return position < units_.size() ? units_[position] : 0; }
  bool IsReplacement(uint32_t offset) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_CHARSMAP_H_
