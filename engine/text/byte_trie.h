// Finds which of many strings a text starts with.
#ifndef MEMGATE_ENGINE_TEXT_BYTE_TRIE_H_
#define MEMGATE_ENGINE_TEXT_BYTE_TRIE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace memgate {

// Maps keys to numbers that are not negative. Holds some 9 bytes per node, and no more nodes than the keys
// have bytes. Thread-safe after construction.
class ByteTrie {
 public:
  struct Match {
    size_t bytes = 0;  // 0: no key
    int32_t value = -1;
  };

  ByteTrie() : ByteTrie(std::vector<std::pair<std::string_view, int32_t>>()) {}
  // The keys need not outlive the call. Empty ones are left out; of equal ones the last counts.
  explicit ByteTrie(std::vector<std::pair<std::string_view, int32_t>> entries);

  bool empty() const { return labels_.size() == 1; }

  // Calls visit(Match) for each key that `text` starts with, shortest first.
  template <typename Visit>
  void ForEachPrefix(std::string_view text, Visit visit) const {
    if (text.empty()) return;
    int32_t node = first_bytes_[static_cast<unsigned char>(text[0])];
    for (size_t depth = 1; node > 0; ++depth) {
      if (values_[node] >= 0) visit(Match{depth, values_[node]});
      if (depth == text.size()) return;
      node = Child(node, text[depth]);
    }
  }

  // The longest key that `text` starts with.
  Match Longest(std::string_view text) const {
    Match longest;
    ForEachPrefix(text, [&](const Match& match) { longest = match; });
    return longest;
  }

 private:
  // The children of a node have consecutive numbers, in ascending order of their labels; those of node n are
  // first_child_[n] up to first_child_[n + 1]. 0: no such child, since no child is the root.
  int32_t Child(int32_t node, char label) const {
    const int32_t first = first_child_[node];
    const size_t count = static_cast<size_t>(first_child_[node + 1] - first);
    const void* found = count == 0 ? nullptr : std::memchr(labels_.data() + first, label, count);
    return found == nullptr ? 0 : static_cast<int32_t>(static_cast<const char*>(found) - labels_.data());
  }

  std::vector<char> labels_;                // [nodes]: the byte that leads to a node; of the root meaningless
  std::vector<int32_t> values_;             // [nodes]: -1 where no key ends
  std::vector<int32_t> first_child_;        // [nodes + 1]
  std::array<int32_t, 256> first_bytes_{};  // Child of the root, which has many
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_BYTE_TRIE_H_
