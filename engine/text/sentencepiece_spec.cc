#include "engine/text/sentencepiece_spec.h"

#include <string>
#include <utility>

#include "engine/text/sentencepiece_model.h"
#include "engine/text/strings.h"
#include "engine/text/token_table.h"
#include "engine/text/tokenizer_config.h"

namespace memgate {
namespace {

constexpr std::string_view kFile = "tokenizer.model";

using Kind = SentencePieceModel::Kind;
using PieceType = SentencePieceModel::PieceType;

absl::Status Invalid(std::string_view message) {
  return absl::InvalidArgumentError(Concat(kFile, ": ", message));
}

absl::Status CheckSupported(const SentencePieceModel& model) {
  std::string what;
  if (model.kind != Kind::kUnigram && model.kind != Kind::kBpe) {
    what = Concat("model type ", static_cast<int32_t>(model.kind));
  } else if (model.whitespace_as_suffix) {
    what = "treat_whitespace_as_suffix";
  } else if (model.has_denormalizer) {
    what = "denormalizer_spec";
  }
  if (what.empty()) return absl::OkStatus();
  return absl::UnimplementedError(Concat(kFile, ": ", what, " is not supported"));
}

// Control symbols are looked for in a text as it is written. User-defined ones are found in the normalised
// text, which they pass unchanged.
AddedToken AddedTokenOf(TokenId id, const SentencePieceModel::Piece& piece) {
  if (piece.type != PieceType::kUserDefined) return {.id = id, .content = piece.text, .special = true};
  return {.id = id,
          .content = ReplaceEvery(piece.text, kSpaceMark, " "),
          .normalized = true,
          .normalized_content = piece.text};
}

absl::Status ReadPieces(const SentencePieceModel& model, TokenTable& table, TokenizerSpec& spec) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model.pieces[i];
    const TokenId id = static_cast<TokenId>(i);
    if (absl::Status status = table.Add(piece.text, id); !status.ok())
      return Invalid(ToStdView(status.message()));
    spec.model.vocab.emplace_back(piece.text, id);
    spec.model.scores.push_back(piece.score);
    if (piece.type == PieceType::kUnknown) spec.model.unk_token = piece.text;
    if (piece.type == PieceType::kNormal) continue;
    if (piece.type == PieceType::kUnused) {
      spec.model.unused.insert(id);
      continue;
    }
    if (piece.type != PieceType::kUserDefined) spec.model.not_text.insert(id);
    if (piece.type == PieceType::kByte) continue;
    if (piece.text.size() > kMaxAddedTokenBytes) {
      return Invalid(
          Concat("symbol ", id, " has ", piece.text.size(), " bytes, more than ", kMaxAddedTokenBytes));
    }
    spec.added_tokens.push_back(AddedTokenOf(id, piece));
  }
  return absl::OkStatus();
}

// Tokens of the configuration that the file does not hold. The library that wrote them looks for them before
// SentencePiece sees the text, whatever they say about normalised text.
absl::Status ReadFurtherTokens(const nlohmann::json& config, TokenTable& table, TokenizerSpec& spec) {
  const size_t own = spec.added_tokens.size();
  absl::Status status = ReadAddedTokensDecoder(config, table, spec.added_tokens);
  for (size_t i = own; i < spec.added_tokens.size(); ++i) spec.added_tokens[i].normalized = false;
  return status;
}

void AddNormalizer(SentencePieceModel& model, TokenizerSpec& spec) {
  SentencePieceRule rule;
  rule.charsmap = std::move(model.precompiled_charsmap);
  rule.add_dummy_prefix = model.add_dummy_prefix;
  rule.remove_extra_spaces = model.remove_extra_whitespaces;
  if (model.escape_whitespaces) rule.space = kSpaceMark;
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    if (piece.type == PieceType::kUserDefined) rule.kept.push_back(piece.text);
  }
  spec.normalizer.push_back(std::move(rule));
  spec.strips_leading_space = model.add_dummy_prefix || model.remove_extra_whitespaces;
}

}  // namespace

absl::StatusOr<TokenizerSpec> SentencePieceSpec(std::string_view model_file, std::string_view config_json) {
  absl::StatusOr<SentencePieceModel> model = ParseSentencePieceModel(model_file);
  if (!model.ok()) return Invalid(Concat("not a SentencePiece model: ", model.status().message()));
  const absl::StatusOr<nlohmann::json> config = ParseTokenizerConfig(config_json);
  if (!config.ok()) return config.status();
  if (absl::Status status = CheckSupported(*model); !status.ok()) return status;
  TokenizerSpec spec;
  TokenTable table;
  spec.model.kind = model->kind == Kind::kBpe ? ModelKind::kBpe : ModelKind::kUnigram;
  spec.model.alphabet = Alphabet::kCharacters;
  spec.model.fuse_unk = true;
  spec.model.byte_fallback = model->byte_fallback;
  absl::Status status = ReadPieces(*model, table, spec);
  if (status.ok()) status = ReadFurtherTokens(*config, table, spec);
  if (status.ok()) {
    const absl::Status density = table.CheckDensity();
    if (!density.ok()) status = Invalid(ToStdView(density.message()));
  }
  if (!status.ok()) return status;
  AddNormalizer(*model, spec);
  spec.bos_id = table.Find(model->bos_piece);
  spec.eos_id = table.Find(model->eos_piece);
  // Nothing in the file says whether texts begin with <s>. Models with BPE (Llama, Mistral, Gemma) are
  // trained so, those with Unigram (T5 and its kin) are not.
  if (spec.model.kind == ModelKind::kBpe && spec.bos_id.has_value()) spec.begin_ids = {*spec.bos_id};
  status = ReadTokenizerConfig(*config, table, spec);
  if (!status.ok()) return status;
  if (!spec.begin_ids.empty())
    spec.begin_ids = {*spec.bos_id};  // whose name the configuration may have changed
  if (spec.eos_id.has_value()) spec.end_ids = {*spec.eos_id};
  MarkSpecialTokens(spec);
  return spec;
}

}  // namespace memgate
