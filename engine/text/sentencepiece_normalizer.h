// What SentencePiece does to a text before it cuts it into pieces.
#ifndef MEMGATE_ENGINE_TEXT_SENTENCEPIECE_NORMALIZER_H_
#define MEMGATE_ENGINE_TEXT_SENTENCEPIECE_NORMALIZER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/byte_trie.h"
#include "engine/text/charsmap.h"

namespace memgate {

// Whether a text starts a conversation, so that what marks its start is put before it and white space at its
// start may be dropped, or continues one.
enum class Prepending { kOn, kOff };

struct SentencePieceRule {
  std::string charsmap;           // see Charsmap; empty: no character is replaced
  std::vector<std::string> kept;  // symbols that are not replaced
  bool add_dummy_prefix = false;  // `space` before the text
  // Of several spaces one is left, at either end of the text none.
  bool remove_extra_spaces = false;
  std::string space = " ";  // what is written for a space
};

// Thread-safe after construction.
class SentencePieceNormalizer {
 public:
  // Errors as of Charsmap::Parse.
  static absl::StatusOr<SentencePieceNormalizer> Create(const SentencePieceRule& rule);

  // RESOURCE_EXHAUSTED if the result would be longer than `max_bytes`. REQUIRES: `text` is valid UTF-8.
  absl::StatusOr<std::string> Normalize(std::string_view text, Prepending prepending, size_t max_bytes) const;

 private:
  explicit SentencePieceNormalizer(const SentencePieceRule& rule) : rule_(rule) {}
  Charsmap::Match NextPart(std::string_view text) const;
  void DropSpacesAtEnd(std::string& out) const;

  SentencePieceRule rule_;  // `charsmap` and `kept` are in the tables below
  std::optional<Charsmap> charsmap_;
  ByteTrie kept_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_SENTENCEPIECE_NORMALIZER_H_
