// Remembers which pieces a model makes of themselves.
#ifndef MEMGATE_ENGINE_TEXT_WORD_MEMO_H_
#define MEMGATE_ENGINE_TEXT_WORD_MEMO_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "engine/text/tokenizer.h"

namespace memgate {

// Most words of a text are pieces. Whether the model makes just that piece of such a word is worked out once.
// Thread-safe: two threads may both work it out, with the same result.
class WordMemo {
 public:
  WordMemo() = default;
  explicit WordMemo(TokenId largest_id)
      : entries_(std::make_unique<std::atomic<Entry>[]>(static_cast<size_t>(largest_id) + 1)) {}

  // Appends to `ids` what encode() appends to it for the word that is spelled like piece `id`; the status is
  // that of encode().
  template <typename EncodeWord>
  absl::Status Encode(TokenId id, std::vector<TokenId>& ids, EncodeWord encode) const {
    std::atomic<Entry>& entry = entries_[id];
    const Entry known = entry.load(std::memory_order_relaxed);
    if (known == Entry::kItself) {
      ids.push_back(id);
      return absl::OkStatus();
    }
    const size_t before = ids.size();
    absl::Status status = encode();
    if (status.ok() && known == Entry::kUnknown) {
      const bool itself = ids.size() == before + 1 && ids.back() == id;
      entry.store(itself ? Entry::kItself : Entry::kOther, std::memory_order_relaxed);
    }
    return status;
  }

 private:
  enum class Entry : uint8_t { kUnknown, kItself, kOther };

  std::unique_ptr<std::atomic<Entry>[]> entries_;  // [largest id + 1]; each changes once at most
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_WORD_MEMO_H_
