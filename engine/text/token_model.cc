#include "engine/text/token_model.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "engine/text/bpe_model.h"
#include "engine/text/strings.h"
#include "engine/text/unigram_model.h"

namespace memgate {
namespace {

// Published vocabularies have about 3 MiB.
constexpr size_t kMaxVocabBytes = 32 << 20;

absl::Status CheckVocabBytes(const ModelSpec& spec) {
  size_t bytes = 0;
  for (const auto& [piece, id] : spec.vocab) bytes += piece.size();
  if (bytes <= kMaxVocabBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("the pieces have ", bytes, " bytes together, more than ", kMaxVocabBytes));
}

absl::Status CheckScores(const ModelSpec& spec) {
  if (spec.scores.size() != spec.vocab.size()) {
    return absl::InvalidArgumentError(
        Concat(spec.scores.size(), " scores for ", spec.vocab.size(), " pieces"));
  }
  for (size_t i = 0; i < spec.vocab.size(); ++i) {
    const auto& [piece, id] = spec.vocab[i];
    if (!std::isfinite(spec.scores[i])) {
      return absl::InvalidArgumentError(Concat("the score of piece ", id, " is not finite"));
    }
    if (!spec.not_text.contains(id) && piece.size() > TokenModel::kMaxScoredPieceBytes) {
      return absl::InvalidArgumentError(Concat("piece ", id, " of ", piece.size(), " bytes is longer than ",
                                               TokenModel::kMaxScoredPieceBytes));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TokenModel>> TokenModel::Create(const ModelSpec& spec) {
  if (absl::Status status = CheckVocabBytes(spec); !status.ok()) return status;
  if (!spec.scores.empty() || spec.kind == ModelKind::kUnigram) {
    if (absl::Status status = CheckScores(spec); !status.ok()) return status;
  }
  if (spec.kind == ModelKind::kUnigram) return UnigramModel::Create(spec);
  return BpeModel::Create(spec);
}

bool HasInnerSpaceMark(std::string_view piece) {
  size_t at = piece.find(kSpaceMark);
  while (at != std::string_view::npos) {
    const bool after_other = at > 0 && !piece.substr(0, at).ends_with(kSpaceMark);
    if (after_other) return true;
    at = piece.find(kSpaceMark, at + kSpaceMark.size());
  }
  return false;
}

std::string ByteFallbackPiece(int byte) { return absl::StrFormat("<0x%02X>", byte); }

}  // namespace memgate
