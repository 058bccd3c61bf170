#include "engine/structured/token_trie.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/algorithm/container.h"

namespace memgate {
namespace {

// Below that many nodes it costs less to visit them than to compare what they read.
constexpr uint32_t kWideNodes = 16;
// A longer token is left out: it is never allowed.
constexpr int64_t kMaxTokenBytes = 4096;

using Text = std::pair<std::string_view, TokenId>;

size_t CommonBytes(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

// How many nodes the tree of texts in ascending order has.
size_t CountNodes(const std::vector<Text>& texts) {
  size_t count = 0;
  std::string_view before;
  for (const auto& [bytes, id] : texts) {
    count += bytes.size() - CommonBytes(before, bytes);
    before = bytes;
  }
  return count;
}

}  // namespace

// Adds tokens in the order of their bytes.
class TokenTrie::Builder {
 public:
  explicit Builder(TokenTrie& trie) : trie_(trie) {}

  void Add(std::string_view bytes, TokenId id) {
    size_t common = 0;
    while (common < path_.size() && common < bytes.size() &&
           trie_.nodes_[path_[common].node].byte == static_cast<uint8_t>(bytes[common])) {
      ++common;
    }
    CloseTo(common);
    for (size_t depth = common; depth < bytes.size(); ++depth) {
      path_.push_back({static_cast<uint32_t>(trie_.nodes_.size()), {}});
      trie_.nodes_.push_back({.first_token = static_cast<uint32_t>(trie_.tokens_.size()),
                              .depth = static_cast<uint16_t>(depth),
                              .byte = static_cast<uint8_t>(bytes[depth])});
    }
    trie_.tokens_.push_back(id);
  }

  void Finish() {
    CloseTo(0);
    trie_.nodes_.push_back({.first_token = static_cast<uint32_t>(trie_.tokens_.size())});
  }

 private:
  struct Open {
    uint32_t node;
    std::bitset<256> below;
  };

  // Nothing more comes below the nodes of the path from `depth` on.
  void CloseTo(size_t depth) {
    while (path_.size() > depth) {
      const Open closed = path_.back();
      path_.pop_back();
      Node& node = trie_.nodes_[closed.node];
      node.end = static_cast<uint32_t>(trie_.nodes_.size());
      node.wide = node.end - closed.node > kWideNodes;
      if (node.wide) trie_.bytes_below_[closed.node] = closed.below;
      if (!path_.empty()) {
        path_.back().below |= closed.below;
        path_.back().below.set(node.byte);
      }
    }
  }

  TokenTrie& trie_;
  std::vector<Open> path_;  // the nodes of the latest token
};

TokenTrie::TokenTrie(const Tokenizer& tokenizer, int vocab_size, absl::Span<const TokenId> end_ids)
    : tokenizer_(tokenizer), vocab_size_(vocab_size), end_ids_(end_ids.begin(), end_ids.end()) {
  std::vector<Text> texts;
  const int count = std::min(vocab_size, tokenizer.vocab_size());
  for (TokenId id = 0; id < count; ++id) {
    const std::string_view bytes = tokenizer.TokenBytes(id);
    if (bytes.empty() || static_cast<int64_t>(bytes.size()) > kMaxTokenBytes) continue;
    if (tokenizer.IsSpecial(id) || absl::c_linear_search(end_ids_, id)) continue;
    texts.emplace_back(bytes, id);
    max_depth_ = std::max(max_depth_, static_cast<int>(bytes.size()));
  }
  std::sort(texts.begin(), texts.end());
  nodes_.reserve(CountNodes(texts) + 1);  // and the one that ends
  tokens_.reserve(texts.size());
  Builder builder(*this);
  for (const auto& [bytes, id] : texts) builder.Add(bytes, id);
  builder.Finish();
}

int64_t TokenTrie::EstimateBytes(const Tokenizer& tokenizer, int vocab_size) {
  constexpr int64_t kTokenBytes = sizeof(Text) + sizeof(TokenId);
  int64_t bytes = 0;
  const int count = std::min(vocab_size, tokenizer.vocab_size());
  for (TokenId id = 0; id < count; ++id) {
    // A node for each byte, as if no tokens began alike: what they share pays for the wide nodes.
    const int64_t length = static_cast<int64_t>(tokenizer.TokenBytes(id).size());
    if (length <= kMaxTokenBytes) bytes += kTokenBytes + length * static_cast<int64_t>(sizeof(Node));
  }
  return bytes;
}

void TokenTrie::Mark(Automaton& automaton, Automaton::State state, TokenBits& bits) const {
  std::vector<const Automaton::Row*> rows(max_depth_ + 1);  // of the states on the way to the node
  rows[0] = &automaton.RowOf(state);
  const uint32_t count = static_cast<uint32_t>(nodes_.size() - 1);
  for (uint32_t i = 0; i < count;) {
    const Node& node = nodes_[i];
    const Automaton::State after = rows[node.depth]->Next(node.byte);
    if (after == Automaton::kDead) {
      i = node.end;
      continue;
    }
    if (node.end == i + 1) {
      MarkTokens(node.first_token, nodes_[i + 1].first_token, bits);
      ++i;
      continue;
    }
    const Automaton::Row& row = automaton.RowOf(after);
    if (node.wide && (bytes_below_.find(i)->second & ~row.loop()).none()) {
      MarkTokens(node.first_token, nodes_[node.end].first_token, bits);
      i = node.end;
      continue;
    }
    MarkTokens(node.first_token, nodes_[i + 1].first_token, bits);
    rows[node.depth + 1] = &row;
    ++i;
  }
}

int64_t TokenTrie::bytes() const {
  return static_cast<int64_t>(nodes_.capacity() * sizeof(Node) + tokens_.capacity() * sizeof(TokenId) +
                              bytes_below_.size() * (sizeof(std::bitset<256>) + 16));
}

}  // namespace memgate
