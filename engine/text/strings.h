// What the text folder needs of strings beyond engine/base/strings.h.
#ifndef MEMGATE_ENGINE_TEXT_STRINGS_H_
#define MEMGATE_ENGINE_TEXT_STRINGS_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "engine/base/strings.h"

namespace memgate {

// In double quotes, control characters escaped, and all but ASCII if it is not valid UTF-8: for error
// messages, which are valid UTF-8. Of a long text the first 200 bytes.
std::string Quoted(std::string_view text);

struct StringViewHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return absl::Hash<absl::string_view>{}(ToAbsl(text)); }
};
struct StringViewEqual {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const { return a == b; }
};

// A map that owns its keys, and one whose keys point elsewhere. Both are looked up with std::string_view.
template <typename Value>
using StringMap = absl::flat_hash_map<std::string, Value, StringViewHash, StringViewEqual>;
template <typename Value>
using StringViewMap = absl::flat_hash_map<std::string_view, Value, StringViewHash, StringViewEqual>;

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_STRINGS_H_
