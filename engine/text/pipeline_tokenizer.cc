#include "engine/text/pipeline_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/strings.h"
#include "engine/text/text_normalizer.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// Encoding needs up to about forty times the bytes of its input; longer texts go through StreamingTokenizer.
constexpr size_t kMaxTextBytes = 16 << 20;

// "<0x0A>" stands for the byte 0x0A.
std::optional<char> FallbackByte(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return std::nullopt;
  int value = 0;
  if (!absl::SimpleHexAtoi(ToAbsl(piece.substr(3, 2)), &value)) return std::nullopt;
  return static_cast<char>(value);
}

// The length of the first word: up to a space mark that follows another character.
size_t FirstWordBytes(std::string_view text) {
  size_t at = 0;
  while (text.substr(at).starts_with(kSpaceMark)) at += kSpaceMark.size();
  return std::min(text.find(kSpaceMark, at), text.size());
}

}  // namespace

PipelineTokenizer::StringTable::StringTable(const std::vector<std::string>& strings) {
  offsets_.reserve(strings.size() + 1);
  offsets_.push_back(0);
  for (const std::string& string : strings) {
    data_ += string;
    offsets_.push_back(data_.size());
  }
}

absl::StatusOr<std::unique_ptr<PipelineTokenizer>> PipelineTokenizer::Create(TokenizerSpec spec) {
  absl::StatusOr<std::unique_ptr<TokenModel>> model = TokenModel::Create(spec.model);
  if (!model.ok()) return model.status();
  std::unique_ptr<PipelineTokenizer> tokenizer(new PipelineTokenizer(std::move(spec)));
  tokenizer->model_ = *std::move(model);
  for (const SplitRule& rule : tokenizer->spec_.splits) {
    absl::StatusOr<TextSplitter> splitter =
        rule.is_literal ? TextSplitter::ForLiteral(rule.pattern, rule.behavior, rule.invert)
                        : TextSplitter::Compile(rule.pattern, rule.behavior, rule.invert);
    if (!splitter.ok()) {
      return absl::Status(splitter.status().code(), Concat("pre_tokenizer: ", splitter.status().message()));
    }
    tokenizer->splitters_.push_back(*std::move(splitter));
  }
  if (absl::Status status = tokenizer->BuildMatchers(); !status.ok()) return status;
  tokenizer->BuildTables();
  return tokenizer;
}

absl::Status PipelineTokenizer::BuildMatchers() {
  for (const AddedToken& token : spec_.added_tokens) {
    if (!token.normalized || spec_.normalizer.empty()) {
      as_written_.Add(token, token.content);
      continue;
    }
    const absl::StatusOr<std::string> pattern =
        NormalizeText(spec_.normalizer, token.content, Prepending::kOn);
    if (!pattern.ok()) return pattern.status();
    in_normalized_.Add(token, *pattern);
  }
  return absl::OkStatus();
}

std::string PipelineTokenizer::BytesOf(std::string_view piece) const {
  if (spec_.model.alphabet == Alphabet::kBytes) {
    return BytesOfSpelling(piece).value_or(std::string(piece));
  }
  if (spec_.model.byte_fallback) {
    if (const std::optional<char> byte = FallbackByte(piece)) return std::string(1, *byte);
  }
  return ReplaceEvery(piece, spec_.space_mark, " ");
}

void PipelineTokenizer::BuildTables() {
  TokenId largest = 0;
  for (const auto& [piece, id] : spec_.model.vocab) largest = std::max(largest, id);
  for (const AddedToken& token : spec_.added_tokens) largest = std::max(largest, token.id);
  vocab_size_ = largest + 1;
  std::vector<std::string> pieces(vocab_size_);
  std::vector<std::string> bytes(vocab_size_);
  for (auto& [piece, id] : spec_.model.vocab) {
    bytes[id] = BytesOf(piece);
    pieces[id] = std::move(piece);
  }
  for (const AddedToken& token : spec_.added_tokens) {
    pieces[token.id] = token.content;
    bytes[token.id] = token.special ? "" : token.content;
  }
  pieces_ = StringTable(pieces);
  bytes_ = StringTable(bytes);
  spec_.model.vocab = {};
  spec_.model.scores = {};
  spec_.model.merges = {};
}

absl::StatusOr<std::vector<TokenId>> PipelineTokenizer::Encode(std::string_view text, TextPosition position,
                                                               SpecialTokens special) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        Concat("text of ", text.size(), " bytes is longer than ", kMaxTextBytes));
  }
  if (absl::Status status = CheckUtf8(text); !status.ok()) return status;
  std::vector<TokenId> ids;
  if (position == TextPosition::kStart) ids = spec_.begin_ids;
  std::vector<TextSegment> segments;
  as_written_.Split(text, special, segments);
  for (const TextSegment& segment : segments) {
    if (segment.token.has_value()) {
      ids.push_back(*segment.token);
      continue;
    }
    const bool starts_text = segment.text.data() == text.data();
    const Place place = {starts_text && position == TextPosition::kContinuation, starts_text};
    if (absl::Status status = EncodeAsWritten(segment.text, place, special, ids); !status.ok()) return status;
  }
  return ids;
}

absl::Status PipelineTokenizer::EncodeAsWritten(std::string_view text, Place place, SpecialTokens special,
                                                std::vector<TokenId>& ids) const {
  absl::StatusOr<std::string> normalized;
  if (!spec_.normalizer.empty()) {
    normalized = NormalizeText(spec_.normalizer, text, place.continues ? Prepending::kOff : Prepending::kOn);
    if (!normalized.ok()) return normalized.status();
    text = *normalized;
  }
  if (in_normalized_.empty()) return EncodeNormalized(text, place, ids);
  std::vector<TextSegment> segments;
  in_normalized_.Split(text, special, segments);
  for (const TextSegment& segment : segments) {
    if (segment.token.has_value()) {
      ids.push_back(*segment.token);
      continue;
    }
    const bool first = segment.text.data() == text.data();
    const Place inner = {place.continues && first, place.starts_text && first};
    if (absl::Status status = EncodeNormalized(segment.text, inner, ids); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::EncodeNormalized(std::string_view text, Place place,
                                                 std::vector<TokenId>& ids) const {
  if (text.empty()) return absl::OkStatus();
  std::string rewritten;
  if (spec_.metaspace.has_value()) {
    const MetaspaceSpec& metaspace = *spec_.metaspace;
    rewritten = ReplaceEvery(text, " ", metaspace.mark);
    const bool wanted = metaspace.prepend == PrependScheme::kAlways ||
                        (metaspace.prepend == PrependScheme::kFirst && place.starts_text);
    if (wanted && !place.continues && !rewritten.starts_with(metaspace.mark))
      rewritten.insert(0, metaspace.mark);
    text = rewritten;
  }
  if (spec_.add_prefix_space && !place.continues && !text.starts_with(' ')) {
    rewritten = Concat(" ", text);
    text = rewritten;
  }
  std::vector<std::string_view> pieces = {text};
  std::vector<std::string_view> finer;
  for (const TextSplitter& splitter : splitters_) {
    finer.clear();
    for (const std::string_view piece : pieces) {
      if (absl::Status status = splitter.Split(piece, finer); !status.ok()) return status;
    }
    pieces.swap(finer);
  }
  for (const std::string_view piece : pieces) {
    if (absl::Status status = EncodeWords(piece, ids); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::EncodeWords(std::string_view text, std::vector<TokenId>& ids) const {
  if (!model_->words_are_independent()) return model_->Encode(text, ids);
  // SentencePiece-style models see a whole text as one word. Cutting it where no merge reaches across gives
  // the same ids, and short words that repeat.
  while (!text.empty()) {
    const size_t bytes = FirstWordBytes(text);
    if (absl::Status status = model_->Encode(text.substr(0, bytes), ids); !status.ok()) return status;
    text.remove_prefix(bytes);
  }
  return absl::OkStatus();
}

}  // namespace memgate
