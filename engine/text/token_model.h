// What turns a word into ids: a vocabulary and a rule for cutting words into its pieces.
#ifndef MEMGATE_ENGINE_TEXT_TOKEN_MODEL_H_
#define MEMGATE_ENGINE_TEXT_TOKEN_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace memgate {

// Ids above this are refused, so that no table grows with a number that a file merely claims.
inline constexpr int64_t kMaxVocabSize = 4'000'000;

inline constexpr std::string_view kSpaceMark =
    "\xE2\x96\x81";  // U+2581, what SentencePiece writes for a space

enum class ModelKind {
  kBpe,      // merges pairs of pieces, best first
  kUnigram,  // takes the pieces whose scores have the largest sum
};

enum class Alphabet {
  kBytes,       // byte-level: a word starts as its bytes
  kCharacters,  // SentencePiece style: a word starts as its characters; unknown ones become bytes or <unk>
};

struct ModelSpec {
  ModelKind kind = ModelKind::kBpe;
  Alphabet alphabet = Alphabet::kBytes;
  // Each piece as the file spells it, valid UTF-8. Ids are distinct and in [0, kMaxVocabSize).
  std::vector<std::pair<std::string, TokenId>> vocab;
  // One finite score per entry of `vocab`, larger is better: of every kUnigram model, and of a kBpe model
  // without a list of merges, where any two pieces merge whose concatenation is a piece, best score first.
  std::vector<double> scores;
  std::vector<std::pair<std::string, std::string>> merges;  // kBpe: best first, spelled like `vocab`
  // No text is encoded as one of these, even if the model could spell it: special tokens, bytes.
  absl::flat_hash_set<TokenId> not_text;
  // The same for pieces that SentencePiece calls unused. A kBpe model with scores merges text into them and
  // takes them apart again in the end, so that they decide what else is merged.
  absl::flat_hash_set<TokenId> unused;
  std::optional<std::string> unk_token;
  bool fuse_unk = false;
  bool byte_fallback = false;  // kCharacters only
  bool ignore_merges = false;  // kBpe: a word that is a piece becomes that piece, whatever the merges say
};

// Thread-safe after construction.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // INVALID_ARGUMENT names the merge, piece or score that is wrong, or says that the pieces have more than
  // 32 MiB together: what finds them takes some ten times as much.
  static absl::StatusOr<std::unique_ptr<TokenModel>> Create(const ModelSpec& spec);

  // Appends the ids of `word` (valid UTF-8, one piece of the pre-tokeniser).
  // INVALID_ARGUMENT if a byte or character has no token and there is no unknown token: nothing is dropped.
  virtual absl::Status Encode(std::string_view word, std::vector<TokenId>& ids) const = 0;

  // Longer pieces than this are refused where there are scores: looking for them takes time in proportion.
  static constexpr size_t kMaxScoredPieceBytes = 256;

  // True if no piece holds a space mark after another character, so that a text may be cut before each word
  // without changing its ids.
  virtual bool words_are_independent() const = 0;
};

// Whether a piece holds a space mark after another character.
bool HasInnerSpaceMark(std::string_view piece);

// How a vocabulary with byte fallback spells a byte: "<0x0A>".
std::string ByteFallbackPiece(int byte);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKEN_MODEL_H_
