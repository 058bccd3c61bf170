#include "engine/output_constraints.h"

#include <algorithm>

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

std::shared_ptr<TokenConstraint> OutputConstraints::Find(const OutputFormat& format) {
  MutexLock lock(&mutex_);
  const auto found =
      std::find_if(latest_.begin(), latest_.end(), [&](const Entry& entry) { return entry.first == format; });
  if (found == latest_.end()) return nullptr;
  latest_.splice(latest_.begin(), latest_, found);
  return found->second;
}

absl::StatusOr<Reservation> OutputConstraints::Reserve(int64_t bytes) {
  auto reservation = accountant_.Reserve(bytes, "response_format");
  if (reservation.ok()) return reservation;
  std::list<Entry> dropped;
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
  {
    MutexLock lock(&mutex_);
    if (trie_ != nullptr) return trie_;
  }
  auto trie = std::make_shared<const TokenTrie>(tokenizer_, vocab_size_, end_ids_);
  auto reservation = Reserve(trie->bytes());
  if (!reservation.ok()) return reservation.status();
  MutexLock lock(&mutex_);
  // Of two calls that made one at the same time, the second one's is dropped.
  if (trie_ == nullptr) trie_ = Holding(std::move(trie), *std::move(reservation));
  return trie_;
}

absl::StatusOr<std::shared_ptr<TokenConstraint>> OutputConstraints::Get(const OutputFormat& format) {
  if (auto known = Find(format)) return known;
  auto grammar = CompileOutputFormat(format);
  if (!grammar.ok()) return grammar.status();
  auto trie = Trie();
  if (!trie.ok()) return trie.status();
  auto reservation = Reserve(TokenConstraint::MaxBytes(*grammar));
  if (!reservation.ok()) return reservation.status();
  auto constraint = TokenConstraint::Create(*std::move(grammar), *std::move(trie));
  if (!constraint.ok()) return constraint.status();
  std::shared_ptr<TokenConstraint> held = Holding(*std::move(constraint), *std::move(reservation));
  MutexLock lock(&mutex_);
  latest_.emplace_front(format, held);
  if (latest_.size() > kKept) latest_.pop_back();
  return held;
}

}  // namespace memgate
