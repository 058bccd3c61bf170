// Which tokens may follow, so that an answer matches a grammar.
#ifndef MEMGATE_ENGINE_STRUCTURED_TOKEN_CONSTRAINT_H_
#define MEMGATE_ENGINE_STRUCTURED_TOKEN_CONSTRAINT_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/structured/automaton.h"
#include "engine/structured/grammar.h"
#include "engine/structured/token_trie.h"

namespace memgate {

// A grammar and a vocabulary, and what was found out about them so far: states of the automaton and the
// tokens that each allows. Serves any number of answers, each with a Cursor; what one has computed the others
// need not. Created on any thread, but all cursors are used on one.
class TokenConstraint {
 public:
  // RESOURCE_EXHAUSTED if the grammar is so ambiguous that already its start takes more work than it may.
  static absl::StatusOr<std::shared_ptr<TokenConstraint>> Create(Grammar grammar,
                                                                 std::shared_ptr<const TokenTrie> trie);

  // The most that a constraint will ever hold, the vocabulary's trie not included. Unit: bytes.
  static int64_t MaxBytes(const Grammar& grammar) {
    return grammar.bytes() + kMaxAutomatonBytes + Automaton::kScratchBytes + kMaxMaskBytes;
  }

  // Steps of the automaton: what Create may take on its own thread for the first token; what one answer may
  // cost the thread that all answers share at once, and how much more with each token. What another answer
  // has computed costs none.
  static constexpr int64_t kStepsOfStart = int64_t{1} << 20;
  static constexpr int64_t kStepsAtOnce = int64_t{1} << 18;
  static constexpr int64_t kStepsPerToken = int64_t{1} << 13;

  // What may come next.
  struct Allowed {
    // The allowed tokens: text that can be completed to a match; ids that end an answer where it matches as
    // it is; special tokens never. Empty if there are none, otherwise one bit per id of the vocabulary. Valid
    // until the next call of any cursor.
    absl::Span<const uint64_t> bits;
    bool complete = false;  // the text so far matches
  };

  // Where one answer stands.
  class Cursor {
   public:
    explicit Cursor(std::shared_ptr<TokenConstraint> constraint);
    ~Cursor();
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;

    // RESOURCE_EXHAUSTED if that takes more work or memory than it may: the grammar is too ambiguous, or what
    // it has open is nested too deep.
    absl::StatusOr<Allowed> Next();
    // Takes in a token of text that was allowed. RESOURCE_EXHAUSTED as above.
    absl::Status Take(TokenId id);

   private:
    friend class TokenConstraint;
    const std::shared_ptr<TokenConstraint> constraint_;
    Automaton::State state_;
    int64_t steps_left_ = kStepsAtOnce;
  };

 private:
  static constexpr int64_t kMaxAutomatonBytes = int64_t{4} << 20;
  static constexpr int64_t kMaxMaskBytes = int64_t{2} << 20;

  TokenConstraint(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie);
  absl::Status Check(const char* what) const;
  const TokenBits* MaskOf(Automaton::State state);
  // Drops states that no cursor is in once there are many; whether it did.
  bool MakeRoom();

  const std::shared_ptr<const TokenTrie> trie_;
  Automaton automaton_;
  int64_t compact_above_bytes_ = kMaxAutomatonBytes / 2;
  absl::flat_hash_map<Automaton::State, TokenBits> masks_;  // empty = no token
  // Where every answer begins: it may have cost more than an answer may, so it is never dropped.
  std::optional<TokenBits> start_mask_;
  absl::flat_hash_set<Cursor*> cursors_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_TOKEN_CONSTRAINT_H_
