#include "engine/output_constraints.h"

#include "engine/scheduling/status_reason.h"

namespace memgate {
namespace {

constexpr size_t kKept = 4;

// An object and the bytes that were reserved for it.
template <typename T>
std::shared_ptr<T> Holding(std::shared_ptr<T> object, Reservation bytes) {
  auto held =
      std::make_shared<std::pair<Reservation, std::shared_ptr<T>>>(std::move(bytes), std::move(object));
  T* const pointer = held->second.get();
  return std::shared_ptr<T>(std::move(held), pointer);
}

}  // namespace

std::shared_ptr<OutputConstraints::Entry> OutputConstraints::EntryOf(const OutputFormat& format) {
  MutexLock lock(&mutex_);
  if (const auto known = entries_.find(format); known != entries_.end()) return known->second;
  // Those that nobody uses and nobody is about to make have had their time.
  absl::erase_if(entries_, [](const auto& other) {
    return other.second.use_count() == 1 && other.second->constraint.expired();
  });
  return entries_[format] = std::make_shared<Entry>();
}

std::shared_ptr<TokenConstraint> OutputConstraints::ConstraintOf(const Entry& entry) {
  MutexLock lock(&mutex_);
  return entry.constraint.lock();
}

void OutputConstraints::Keep(Entry& entry, const std::shared_ptr<TokenConstraint>& constraint) {
  std::shared_ptr<TokenConstraint> dropped;  // when the lock is free
  MutexLock lock(&mutex_);
  entry.constraint = constraint;
  latest_.remove(constraint);
  latest_.push_front(constraint);
  if (latest_.size() <= kKept) return;
  dropped = std::move(latest_.back());
  latest_.pop_back();
}

absl::StatusOr<Reservation> OutputConstraints::Reserve(int64_t bytes) {
  auto reservation = accountant_.Reserve(bytes, "response_format");
  if (reservation.ok()) return reservation;
  std::list<std::shared_ptr<TokenConstraint>> dropped;
  {
    MutexLock lock(&mutex_);
    dropped.swap(latest_);
  }
  dropped.clear();
  reservation = accountant_.Reserve(bytes, "response_format");
  if (!reservation.ok()) return WithReason(reservation.status(), "MEMORY_BUDGET");
  return reservation;
}

absl::StatusOr<std::shared_ptr<const TokenTrie>> OutputConstraints::Trie() {
  MutexLock lock(&trie_mutex_);
  if (trie_ != nullptr) return trie_;
  auto reservation = Reserve(TokenTrie::EstimateBytes(tokenizer_, vocab_size_));
  if (!reservation.ok()) return reservation.status();
  auto trie = std::make_shared<const TokenTrie>(tokenizer_, vocab_size_, end_ids_);
  reservation->ShrinkTo(trie->bytes());
  trie_ = Holding(std::move(trie), *std::move(reservation));
  return trie_;
}

absl::StatusOr<std::shared_ptr<TokenConstraint>> OutputConstraints::Make(const OutputFormat& format) {
  auto trie = Trie();
  if (!trie.ok()) return trie.status();
  auto reservation = Reserve(CompileBytes(format));
  if (!reservation.ok()) return reservation.status();
  auto grammar = CompileOutputFormat(format);
  if (!grammar.ok()) return grammar.status();
  // What compiling has left is less than what it took; the text stays in the table.
  reservation->ShrinkTo(TokenConstraint::MaxBytes(*grammar) + static_cast<int64_t>(format.text.size()));
  auto constraint = TokenConstraint::Create(*std::move(grammar), *std::move(trie));
  if (!constraint.ok()) return constraint.status();
  return Holding(*std::move(constraint), *std::move(reservation));
}

absl::StatusOr<std::shared_ptr<TokenConstraint>> OutputConstraints::Get(const OutputFormat& format) {
  const std::shared_ptr<Entry> entry = EntryOf(format);
  MutexLock compiling(&entry->compiling);
  if (!entry->refused.ok()) return entry->refused;
  absl::StatusOr<std::shared_ptr<TokenConstraint>> constraint = ConstraintOf(*entry);
  if (*constraint == nullptr) constraint = Make(format);
  if (constraint.ok()) Keep(*entry, *constraint);
  if (absl::IsInvalidArgument(constraint.status())) entry->refused = constraint.status();
  return constraint;
}

}  // namespace memgate
