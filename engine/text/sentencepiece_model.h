// Reads SentencePiece's tokenizer.model.
#ifndef MEMGATE_ENGINE_TEXT_SENTENCEPIECE_MODEL_H_
#define MEMGATE_ENGINE_TEXT_SENTENCEPIECE_MODEL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace memgate {

// The part of the file (message ModelProto of sentencepiece_model.proto) that encoding and decoding need.
struct SentencePieceModel {
  enum class PieceType : int32_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,  // is always a piece of its own
    kUnused = 5,
    kByte = 6,
  };
  struct Piece {
    std::string text;  // valid UTF-8, not empty; a space is U+2581
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  enum class Kind : int32_t { kUnigram = 1, kBpe = 2, kWord = 3, kCharacter = 4 };

  std::vector<Piece> pieces;  // by id
  Kind kind = Kind::kUnigram;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string bos_piece = "<s>";
  std::string eos_piece = "</s>";
  std::string precompiled_charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool has_denormalizer = false;
};

// INVALID_ARGUMENT says what is wrong at which piece or byte. Fields that are not listed above are read over.
absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view file);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_SENTENCEPIECE_MODEL_H_
