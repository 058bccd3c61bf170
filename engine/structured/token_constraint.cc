#include "engine/structured/token_constraint.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "engine/base/strings.h"

namespace memgate {

TokenConstraint::TokenConstraint(std::shared_ptr<const Grammar> grammar,
                                 std::shared_ptr<const TokenTrie> trie)
    : trie_(std::move(trie)), automaton_(std::move(grammar), kMaxAutomatonBytes, kStepsOfStart) {}

absl::StatusOr<std::shared_ptr<TokenConstraint>> TokenConstraint::Create(
    Grammar grammar, std::shared_ptr<const TokenTrie> trie) {
  std::shared_ptr<TokenConstraint> constraint(
      new TokenConstraint(std::make_shared<const Grammar>(std::move(grammar)), std::move(trie)));
  if (!constraint->automaton_.exhausted()) {
    const TokenBits* mask = constraint->MaskOf(constraint->automaton_.start());
    if (mask != nullptr) constraint->start_mask_ = *mask;
  }
  if (absl::Status status = constraint->Check("the first token"); !status.ok()) return status;
  return constraint;
}

absl::Status TokenConstraint::Check(const char* what) const {
  if (!automaton_.exhausted()) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      Concat("response_format: ", what, " takes more than the ", kStepsOfStart, " steps of the first, ",
             kStepsAtOnce, " at once, ", kStepsPerToken, " on average, ", kMaxAutomatonBytes >> 20,
             " MiB, or ", Automaton::kMaxPlaces,
             " places at once; the grammar is too ambiguous or what is open is nested too deep"));
}

// What all cursors are in may be much in itself.
bool TokenConstraint::MakeRoom() {
  if (automaton_.bytes() <= compact_above_bytes_) return false;
  std::vector<Automaton::State*> kept;
  for (Cursor* cursor : cursors_) kept.push_back(&cursor->state_);
  automaton_.Compact(kept);
  masks_.clear();
  compact_above_bytes_ = std::clamp(2 * automaton_.bytes(), kMaxAutomatonBytes / 2, kMaxAutomatonBytes);
  return true;
}

// Null if the automaton is exhausted. States that differ only beyond the longest token have one mask.
const TokenBits* TokenConstraint::MaskOf(Automaton::State state) {
  if (start_mask_ && state == automaton_.start()) return &*start_mask_;
  state = automaton_.Nearer(state, std::max(trie_->max_token_bytes(), 1));
  if (const auto known = masks_.find(state); known != masks_.end()) return &known->second;
  TokenBits bits((trie_->vocab_size() + 63) / 64, 0);
  trie_->Mark(automaton_, state, bits);
  if (automaton_.exhausted()) return nullptr;
  if (automaton_.Accepts(state)) {
    for (const TokenId id : trie_->end_ids()) {
      if (id >= 0 && id < trie_->vocab_size()) bits[id / 64] |= uint64_t{1} << (id % 64);
    }
  }
  if (absl::c_all_of(bits, [](uint64_t word) { return word == 0; })) bits.clear();
  const int64_t mask_bytes = static_cast<int64_t>(bits.size() * sizeof(uint64_t)) + 64;
  if (static_cast<int64_t>(masks_.size() + 1) * mask_bytes > kMaxMaskBytes) masks_.clear();
  return &masks_.emplace(state, std::move(bits)).first->second;
}

TokenConstraint::Cursor::Cursor(std::shared_ptr<TokenConstraint> constraint)
    : constraint_(std::move(constraint)), state_(constraint_->automaton_.start()) {
  constraint_->cursors_.insert(this);
}

TokenConstraint::Cursor::~Cursor() { constraint_->cursors_.erase(this); }

absl::StatusOr<TokenConstraint::Allowed> TokenConstraint::Cursor::Next() {
  TokenConstraint& shared = *constraint_;
  shared.MakeRoom();
  shared.automaton_.Allow(steps_left_);
  const TokenBits* bits = shared.MaskOf(state_);
  if (bits == nullptr && shared.MakeRoom()) {  // of what other answers have left
    shared.automaton_.Allow(shared.automaton_.steps_left());
    bits = shared.MaskOf(state_);
  }
  steps_left_ = shared.automaton_.steps_left();
  if (bits == nullptr) return shared.Check("the next token");
  return Allowed{*bits, shared.automaton_.Accepts(state_)};
}

absl::Status TokenConstraint::Cursor::Take(TokenId id) {
  TokenConstraint& shared = *constraint_;
  shared.automaton_.Allow(steps_left_);
  const std::string_view text = shared.trie_->tokenizer().TokenBytes(id);
  Automaton::State after = shared.automaton_.Advance(state_, text);
  if (shared.automaton_.exhausted() && shared.MakeRoom()) {
    shared.automaton_.Allow(shared.automaton_.steps_left());
    after = shared.automaton_.Advance(state_, text);
  }
  steps_left_ = std::min(shared.automaton_.steps_left() + kStepsPerToken, kStepsAtOnce);
  if (absl::Status status = shared.Check("the next token"); !status.ok()) return status;
  if (after == Automaton::kDead) return absl::InternalError(Concat("token ", id, " was not allowed"));
  state_ = after;
  return absl::OkStatus();
}

}  // namespace memgate
