// Walks through a grammar that check what is promised of every grammar.
#ifndef MEMGATE_TESTS_FUZZ_GRAMMAR_WALK_H_
#define MEMGATE_TESTS_FUZZ_GRAMMAR_WALK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/structured/automaton.h"
#include "engine/structured/grammar.h"
#include "engine/structured/token_constraint.h"
#include "engine/structured/token_trie.h"
#include "tests/fuzz/input_parts.h"
#include "tests/fuzz/vocabularies.h"

namespace memgate {

// Sees every text on the way that matches as a whole.
using MatchedText = std::function<void(const std::string&)>;

// Reads random bytes that are allowed: one may follow, or the text may end. False if the grammar takes more
// work than a walk through a plain one.
inline bool WalkBytes(const std::shared_ptr<const Grammar>& grammar, uint32_t seed,
                      const MatchedText& matched) {
  constexpr int kBytes = 120;
  constexpr int64_t kSteps = 50'000;
  Automaton automaton(grammar, int64_t{4} << 20, kSteps);
  if (automaton.exhausted()) return false;
  std::mt19937 random(seed);
  Automaton::State state = automaton.start();
  std::string text;
  for (int i = 0; i < kBytes; ++i) {
    automaton.Allow(kSteps);
    const Automaton::Row& row = automaton.RowOf(state);
    if (automaton.exhausted()) return false;
    if (automaton.Accepts(state)) matched(text);
    std::vector<uint8_t> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      if (row.Next(static_cast<uint8_t>(byte)) != Automaton::kDead)
        bytes.push_back(static_cast<uint8_t>(byte));
    }
    Require(!bytes.empty() || automaton.Accepts(state));
    if (bytes.empty()) return true;
    const uint8_t byte = bytes[random() % bytes.size()];
    state = row.Next(byte);
    text += static_cast<char>(byte);
    if (i % 16 == 0) automaton.Compact(std::vector<Automaton::State*>{&state});
  }
  return true;
}

// All bytes, and pieces of JSON of several bytes, half a character among them.
inline const std::shared_ptr<const TokenTrie>& WalkedTrie() {
  static const auto tokenizer = MakeTokenizer(SentencePieceVocabulary(
      "llama", {"{\"", "\":", "\",\"", "[]", "{}", "]}",   "true", "null", "10", ".5",
                "-1",  "e+",  "\\u00", "ab", "ba", "aaaa", "é",    "日本", "  ", "\n"}));
  static const auto trie = std::make_shared<const TokenTrie>(*tokenizer, tokenizer->vocab_size(),
                                                             std::vector<TokenId>{*tokenizer->eos_id()});
  return trie;
}

// Whether the bits say of every token of text what the automaton says of its bytes.
inline void CheckMask(const TokenTrie& trie, absl::Span<const uint64_t> bits, Automaton& automaton,
                      Automaton::State state) {
  constexpr int64_t kSteps = 1'000'000;
  for (TokenId id = 0; id < trie.vocab_size(); ++id) {
    const std::string_view bytes = trie.tokenizer().TokenBytes(id);
    if (bytes.empty()) continue;
    automaton.Allow(kSteps);
    const bool allowed = automaton.Advance(state, bytes) != Automaton::kDead;
    if (automaton.exhausted()) return;
    Require(allowed == ((bits[id / 64] >> (id % 64) & 1) != 0));
  }
}

// The same as WalkBytes with tokens, as answers are made; also holds their masks against the automaton.
inline void WalkTokens(const std::shared_ptr<const Grammar>& grammar, uint32_t seed,
                       const MatchedText& matched) {
  constexpr int kTokens = 8;
  const TokenTrie& trie = *WalkedTrie();
  const auto constraint = TokenConstraint::Create(*grammar, WalkedTrie());
  if (!constraint.ok()) return Require(absl::IsResourceExhausted(constraint.status()));
  TokenConstraint::Cursor cursor(*constraint);
  Automaton automaton(grammar, int64_t{16} << 20, 1'000'000);
  Automaton::State state = automaton.start();
  std::mt19937 random(seed);
  std::string text;
  for (int i = 0; i < kTokens && !automaton.exhausted(); ++i) {
    const auto allowed = cursor.Next();
    if (!allowed.ok()) return Require(absl::IsResourceExhausted(allowed.status()));
    if (allowed->complete) matched(text);
    Require(!allowed->bits.empty());
    CheckMask(trie, allowed->bits, automaton, state);
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < trie.vocab_size(); ++id) {
      if (allowed->bits[id / 64] >> (id % 64) & 1) ids.push_back(id);
    }
    const TokenId id = ids[random() % ids.size()];
    if (id == trie.end_ids().front()) return Require(allowed->complete);
    if (const absl::Status taken = cursor.Take(id); !taken.ok())
      return Require(absl::IsResourceExhausted(taken));
    const std::string_view bytes = trie.tokenizer().TokenBytes(id);
    text += bytes;
    state = automaton.Advance(state, bytes);
  }
}

inline void WalkGrammar(Grammar grammar, uint32_t seed, const MatchedText& matched) {
  const auto shared = std::make_shared<const Grammar>(std::move(grammar));
  if (WalkBytes(shared, seed, matched)) WalkTokens(shared, seed, matched);
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_GRAMMAR_WALK_H_
