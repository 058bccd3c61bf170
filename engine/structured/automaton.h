// A grammar as a deterministic automaton over bytes whose states are made when they are first reached.
#ifndef MEMGATE_ENGINE_STRUCTURED_AUTOMATON_H_
#define MEMGATE_ENGINE_STRUCTURED_AUTOMATON_H_

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "engine/structured/grammar.h"

namespace memgate {

// A state is a set of pairs (node that reads a byte, set of stacks): where in the network the text so far may
// have led, and which calls may be open there. A set of stacks is kept as a tree that shares equal parts: its
// entries name where the innermost call returns to and the set of the stacks below. States and sets are kept
// once each, so equal ones have equal numbers, and ambiguity makes sets larger, not more numerous.
//
// Work and memory are bounded: once the allowed steps are used up, bytes() has passed max_bytes, or a state
// has more than kMaxPlaces on its way, exhausted() is true and every state that was not known already is
// kDead. Compact() drops what can be made again. Not thread-safe.
class Automaton {
 public:
  using State = int32_t;
  static constexpr State kDead = 0;  // no text that begins so matches
  static constexpr size_t kMaxPlaces = size_t{1} << 15;
  // The most that computing one state holds beyond bytes(). Unit: bytes.
  static constexpr int64_t kScratchBytes = int64_t{64} * kMaxPlaces;

  // What a state does with each byte.
  class Row {
   public:
    State Next(uint8_t byte) const {
      if (dense_ != nullptr) return dense_[byte];
      for (const Edge& edge : edges_) {
        if (byte >= edge.first && byte <= edge.last) return edge.target;
      }
      return kDead;
    }
    // The bytes that lead back to the same state.
    const std::bitset<256>& loop() const { return loop_; }

   private:
    friend class Automaton;
    struct Edge {
      uint8_t first, last;
      State target;
    };
    std::vector<Edge> edges_;         // ascending, disjoint; empty if dense_ is there
    std::unique_ptr<State[]> dense_;  // [256] or null
    std::bitset<256> loop_;
  };

  // `steps` are for the start state, and for what follows until Allow.
  Automaton(std::shared_ptr<const Grammar> grammar, int64_t max_bytes, int64_t steps);

  State start() const { return start_; }
  // Whether the text so far matches as a whole.
  bool Accepts(State state) const { return states_[state].accepts; }
  // Valid until the next call of Compact. REQUIRES: state != kDead.
  const Row& RowOf(State state);
  // The state after `text`; kDead as soon as nothing can match any more.
  State Advance(State state, std::string_view text);

  // A state after which the next `bytes` bytes may be the same as after `state`, which itself is or is not
  // the end in both; many states that count far have one in common (Grammar::Nearer). `state` itself once
  // exhausted(). REQUIRES: always the same `bytes`, > 0.
  State Nearer(State state, int64_t bytes);

  // Allows `steps` from now on; a step looks at one node or stack entry, some tens of nanoseconds.
  // exhausted() is false again, unless for bytes.
  void Allow(int64_t steps);
  bool exhausted() const { return exhausted_; }
  int64_t steps_left() const { return steps_left_; }
  // What is held, roughly. Unit: bytes.
  int64_t bytes() const { return bytes_; }
  // Forgets all states but start() and those that `kept` points to, which get their new numbers.
  void Compact(absl::Span<State* const> kept);

 private:
  using Stacks = int32_t;  // a set of stacks
  struct Place {           // in the network, with the calls that may be open
    GrammarNode node;
    Stacks stacks;
  };
  struct StateData {
    std::vector<int32_t> places;  // node, stacks, node, stacks..., ascending by node, then 1 if it accepts
    bool accepts = false;
    std::unique_ptr<Row> row;  // once it was asked for
    State nearer = kDead;      // likewise
  };

  bool Step(int64_t steps = 1);
  void Charge(int64_t bytes);
  absl::Span<const int32_t> EntriesOf(Stacks stacks) const { return stacks_[stacks]; }
  Stacks InternStacks(std::vector<int32_t> entries);
  Stacks Push(GrammarNode return_to, Stacks stacks);
  Stacks NearerStacks(Stacks stacks, int64_t bytes);
  Stacks Union(Stacks a, Stacks b, int depth = 0);
  State InternState(std::vector<int32_t> places, bool accepts);
  State StateOf(const std::vector<Place>& places);
  State ComputeState(std::vector<Place> work);
  std::vector<int32_t> MergedPlaces(std::vector<Place> places);
  std::vector<std::vector<Place>> PlacesAfter(State state, absl::Span<const int> borders);
  std::unique_ptr<Row> ComputeRow(State state);
  void Reset();

  const std::shared_ptr<const Grammar> grammar_;
  const int64_t max_bytes_;
  State start_ = kDead;
  int64_t steps_left_;
  int64_t bytes_ = 0;
  bool exhausted_ = false;

  // The keys point into the vectors, which never change.
  std::vector<StateData> states_;
  absl::flat_hash_map<absl::Span<const int32_t>, State> state_numbers_;
  std::vector<std::vector<int32_t>> stacks_;  // return node, stacks below, ...; ascending by return node
  absl::flat_hash_map<absl::Span<const int32_t>, Stacks> stacks_numbers_;
  absl::flat_hash_map<std::pair<Stacks, Stacks>, Stacks> unions_;
  // States of sets of places that took many steps, by what StateOf was given.
  absl::flat_hash_map<std::vector<int32_t>, State> costly_states_;
  const Row no_row_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_AUTOMATON_H_
