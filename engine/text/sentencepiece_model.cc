#include "engine/text/sentencepiece_model.h"

#include <utility>

#include "engine/text/protobuf_reader.h"
#include "engine/text/strings.h"
#include "engine/text/token_model.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// Calls read(field) for each field of `message`.
template <typename Read>
absl::Status ForEachField(std::string_view message, Read read) {
  ProtobufReader reader(message);
  ProtobufField field;
  while (true) {
    const absl::StatusOr<bool> more = reader.Next(field);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    if (absl::Status status = read(field); !status.ok()) return status;
  }
}

template <typename T, typename U>
absl::Status Assign(const absl::StatusOr<T>& value, U& to) {
  if (value.ok()) to = static_cast<U>(*value);
  return value.status();
}

absl::Status ReadPiece(std::string_view message, SentencePieceModel::Piece& piece) {
  absl::Status status = ForEachField(message, [&](const ProtobufField& field) -> absl::Status {
    switch (field.number) {
      case 1:
        return Assign(field.AsBytes(), piece.text);
      case 2:
        return Assign(field.AsFloat(), piece.score);
      case 3:
        return Assign(field.AsInt32(), piece.type);
      default:
        return absl::OkStatus();
    }
  });
  if (!status.ok()) return status;
  if (piece.text.empty()) return absl::InvalidArgumentError("is empty");
  if (!CheckUtf8(piece.text).ok()) {
    return absl::InvalidArgumentError(Concat(Quoted(piece.text), " is not valid UTF-8"));
  }
  if (piece.type < SentencePieceModel::PieceType::kNormal ||
      piece.type > SentencePieceModel::PieceType::kByte) {
    return absl::InvalidArgumentError(Concat("has the unknown type ", static_cast<int32_t>(piece.type)));
  }
  return absl::OkStatus();
}

absl::Status ReadTrainerSpec(std::string_view message, SentencePieceModel& model) {
  return ForEachField(message, [&](const ProtobufField& field) -> absl::Status {
    switch (field.number) {
      case 3:
        return Assign(field.AsInt32(), model.kind);
      case 24:
        return Assign(field.AsBool(), model.whitespace_as_suffix);
      case 35:
        return Assign(field.AsBool(), model.byte_fallback);
      case 46:
        return Assign(field.AsBytes(), model.bos_piece);
      case 47:
        return Assign(field.AsBytes(), model.eos_piece);
      default:
        return absl::OkStatus();
    }
  });
}

absl::Status ReadNormalizerSpec(std::string_view message, SentencePieceModel& model) {
  return ForEachField(message, [&](const ProtobufField& field) -> absl::Status {
    switch (field.number) {
      case 2:
        return Assign(field.AsBytes(), model.precompiled_charsmap);
      case 3:
        return Assign(field.AsBool(), model.add_dummy_prefix);
      case 4:
        return Assign(field.AsBool(), model.remove_extra_whitespaces);
      case 5:
        return Assign(field.AsBool(), model.escape_whitespaces);
      default:
        return absl::OkStatus();
    }
  });
}

absl::Status ReadDenormalizerSpec(std::string_view message, SentencePieceModel& model) {
  SentencePieceModel denormalizer;
  const absl::Status status = ReadNormalizerSpec(message, denormalizer);
  model.has_denormalizer = !denormalizer.precompiled_charsmap.empty();
  return status;
}

}  // namespace

absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view file) {
  SentencePieceModel model;
  const absl::Status status = ForEachField(file, [&](const ProtobufField& field) -> absl::Status {
    if (field.number != 1 && field.number != 2 && field.number != 3 && field.number != 5)
      return absl::OkStatus();
    const absl::StatusOr<std::string_view> message = field.AsBytes();
    if (!message.ok()) return message.status();
    if (field.number == 2) return ReadTrainerSpec(*message, model);
    if (field.number == 3) return ReadNormalizerSpec(*message, model);
    if (field.number == 5) return ReadDenormalizerSpec(*message, model);
    if (model.pieces.size() >= static_cast<size_t>(kMaxVocabSize)) {
      return absl::InvalidArgumentError(Concat("more than ", kMaxVocabSize, " pieces"));
    }
    SentencePieceModel::Piece piece;
    if (absl::Status read = ReadPiece(*message, piece); !read.ok()) {
      return absl::InvalidArgumentError(Concat("piece ", model.pieces.size(), ": ", read.message()));
    }
    model.pieces.push_back(std::move(piece));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  if (model.pieces.empty()) return absl::InvalidArgumentError("the vocabulary is empty");
  return model;
}

}  // namespace memgate
