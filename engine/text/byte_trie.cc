#include "engine/text/byte_trie.h"

#include <algorithm>
#include <utility>

namespace memgate {

ByteTrie::ByteTrie(std::vector<std::pair<std::string_view, int32_t>> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // Which entries go through each node. Nodes are made level by level, so that the children of one node, and
  // of the nodes in order, follow each other.
  struct Range {
    size_t begin, end;
  };
  std::vector<Range> level = {{0, entries.size()}};
  labels_.push_back(0);
  values_.push_back(-1);
  for (size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Range> next;
    size_t node = labels_.size() - level.size();
    for (Range range : level) {
      for (; range.begin < range.end && entries[range.begin].first.size() == depth; ++range.begin) {
        if (depth > 0) values_[node] = entries[range.begin].second;
      }
      first_child_.push_back(static_cast<int32_t>(labels_.size()));
      while (range.begin < range.end) {
        const char label = entries[range.begin].first[depth];
        size_t end = range.begin;
        while (end < range.end && entries[end].first[depth] == label) ++end;
        if (depth == 0) {
          first_bytes_[static_cast<unsigned char>(label)] = static_cast<int32_t>(labels_.size());
        }
        labels_.push_back(label);
        values_.push_back(-1);
        next.push_back({range.begin, end});
        range.begin = end;
      }
      ++node;
    }
    level = std::move(next);
  }
  first_child_.push_back(static_cast<int32_t>(labels_.size()));
}

}  // namespace memgate
