// Constraints of answers on one model, shared between requests that ask for the same form.
#ifndef MEMGATE_ENGINE_OUTPUT_CONSTRAINTS_H_
#define MEMGATE_ENGINE_OUTPUT_CONSTRAINTS_H_

#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "engine/session/byte_accountant.h"
#include "engine/structured/output_format.h"
#include "engine/structured/token_constraint.h"
#include "engine/structured/token_trie.h"
#include "engine/text/tokenizer.h"

namespace memgate {

// Thread-safe. Equal formats have one constraint while anybody uses it, and the latest few are kept, so that
// a client that asks for one form again and again finds what was computed for it. All that it holds,
// compiling included, is reserved from the memory budget before it is allocated; so the budget bounds the
// formats in use.
class OutputConstraints {
 public:
  // All arguments must outlive the object and the constraints.
  OutputConstraints(const Tokenizer& tokenizer, int vocab_size, std::vector<TokenId> end_ids,
                    ByteAccountant& accountant)
      : tokenizer_(tokenizer),
        vocab_size_(vocab_size),
        end_ids_(std::move(end_ids)),
        accountant_(accountant) {}

  // INVALID_ARGUMENT as of CompileOutputFormat, RESOURCE_EXHAUSTED (MEMORY_BUDGET), or without that reason as
  // of TokenConstraint::Create. The first call sorts the vocabulary. Waits while another call compiles the
  // same format.
  absl::StatusOr<std::shared_ptr<TokenConstraint>> Get(const OutputFormat& format);

 private:
  // One format.
  struct Entry {
    Mutex compiling;                            // taken before mutex_
    absl::Status refused;                       // why the format is none, once known; guarded by compiling
    std::weak_ptr<TokenConstraint> constraint;  // guarded by mutex_
  };

  std::shared_ptr<Entry> EntryOf(const OutputFormat& format);
  std::shared_ptr<TokenConstraint> ConstraintOf(const Entry& entry);
  // Makes it the entry's, and the latest.
  void Keep(Entry& entry, const std::shared_ptr<TokenConstraint>& constraint);
  absl::StatusOr<std::shared_ptr<TokenConstraint>> Make(const OutputFormat& format);
  absl::StatusOr<std::shared_ptr<const TokenTrie>> Trie();
  // Drops what is kept for later if there is no room otherwise.
  absl::StatusOr<Reservation> Reserve(int64_t bytes);

  const Tokenizer& tokenizer_;
  const int vocab_size_;
  const std::vector<TokenId> end_ids_;
  ByteAccountant& accountant_;
  Mutex trie_mutex_;
  std::shared_ptr<const TokenTrie> trie_ ABSL_GUARDED_BY(trie_mutex_);  // once it was asked for
  Mutex mutex_;
  // Of formats in use, and some that are no more.
  absl::flat_hash_map<OutputFormat, std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
  std::list<std::shared_ptr<TokenConstraint>> latest_ ABSL_GUARDED_BY(mutex_);  // used last comes first
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_OUTPUT_CONSTRAINTS_H_
