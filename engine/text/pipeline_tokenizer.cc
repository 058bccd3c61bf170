#include "engine/text/pipeline_tokenizer.h"

#include <algorithm>
#include <deque>

#include "absl/strings/numbers.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// Encoding needs up to about forty times the bytes of its input; longer texts go through StreamingTokenizer.
constexpr size_t kMaxTextBytes = 16 << 20;

// Of what is looked for as one added token, and as all of them. Looking for them takes time by the longest
// and memory by some ten times all; published vocabularies have up to a MiB.
constexpr size_t kMaxPatternBytes = 1024;
constexpr size_t kMaxPatternsBytes = 16 << 20;

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
  absl::StatusOr<TextNormalizer> normalizer = TextNormalizer::Compile(spec.normalizer);
  if (!normalizer.ok()) {
    return absl::Status(normalizer.status().code(), Concat("normalizer: ", normalizer.status().message()));
  }
  std::unique_ptr<PipelineTokenizer> tokenizer(new PipelineTokenizer(std::move(spec)));
  tokenizer->model_ = *std::move(model);
  tokenizer->normalizer_ = *std::move(normalizer);
  tokenizer->spec_.normalizer = {};
  if (absl::Status status = tokenizer->CompilePreTokenizer(); !status.ok()) return status;
  if (absl::Status status = tokenizer->BuildMatchers(); !status.ok()) return status;
  tokenizer->BuildTables();
  return tokenizer;
}

absl::Status PipelineTokenizer::CompilePreTokenizer() {
  for (const PreTokenizerRule& rule : spec_.pre_tokenizer) {
    if (const auto* metaspace = std::get_if<MetaspaceRule>(&rule)) {
      pre_tokenizer_.emplace_back(*metaspace);
    } else if (const auto* split = std::get_if<SplitRule>(&rule)) {
      absl::StatusOr<TextSplitter> splitter =
          split->is_literal ? absl::StatusOr<TextSplitter>(
                                  TextSplitter::ForLiteral(split->pattern, split->behavior, split->invert))
                            : TextSplitter::Compile(split->pattern, split->behavior, split->invert);
      if (!splitter.ok()) {
        return absl::Status(splitter.status().code(), Concat("pre_tokenizer: ", splitter.status().message()));
      }
      pre_tokenizer_.emplace_back(*std::move(splitter));
    } else {
      pre_tokenizer_.emplace_back(PrefixSpaceRule{});
    }
  }
  spec_.pre_tokenizer = {};
  return absl::OkStatus();
}

absl::StatusOr<std::string> PipelineTokenizer::PatternOf(const AddedToken& token, MatchWork& work) const {
  if (!token.normalized || normalizer_.empty()) return token.content;
  if (!token.normalized_content.empty()) return token.normalized_content;
  absl::StatusOr<std::string> pattern = normalizer_.Normalize(token.content, Prepending::kOn, work);
  if (pattern.ok() && pattern->size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(Concat("added token ", Quoted(token.content), " has ", pattern->size(),
                                             " bytes when normalised, more than ", kMaxPatternBytes));
  }
  return pattern;
}

absl::Status PipelineTokenizer::BuildMatchers() {
  std::vector<AddedTokenMatcher::Entry> as_written;
  std::vector<AddedTokenMatcher::Entry> in_normalized;
  MatchWork work(kMaxAddedTokenBytes * spec_.added_tokens.size());
  size_t bytes = 0;
  for (const AddedToken& token : spec_.added_tokens) {
    absl::StatusOr<std::string> pattern = PatternOf(token, work);
    if (!pattern.ok()) return pattern.status();
    bytes += pattern->size();
    if (bytes > kMaxPatternsBytes) {
      return absl::InvalidArgumentError(
          Concat("the added tokens have more than ", kMaxPatternsBytes, " bytes together"));
    }
    auto& entries = token.normalized && !normalizer_.empty() ? in_normalized : as_written;
    entries.push_back({token, *std::move(pattern)});
  }
  as_written_ = AddedTokenMatcher(std::move(as_written));
  in_normalized_ = AddedTokenMatcher(std::move(in_normalized));
  return absl::OkStatus();
}

bool PipelineTokenizer::ReachesAcrossSpaces() const {
  const bool splits = std::any_of(pre_tokenizer_.begin(), pre_tokenizer_.end(), [](const auto& step) {
    return std::holds_alternative<TextSplitter>(step);
  });
  return !splits && !model_->words_are_independent();
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
    if (pieces[token.id].empty()) pieces[token.id] = token.content;
    bytes[token.id] = token.special ? "" : token.content;
  }
  pieces_ = StringTable(pieces);
  bytes_ = StringTable(bytes);
  spec_.added_tokens = {};
  spec_.model = {};
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
  MatchWork work(text.size());
  std::vector<TextSegment> segments;
  as_written_.Split(text, special, segments);
  for (const TextSegment& segment : segments) {
    if (segment.token.has_value()) {
      ids.push_back(*segment.token);
      continue;
    }
    const bool starts_text = segment.text.data() == text.data();
    const Place place = {starts_text && position == TextPosition::kContinuation, starts_text};
    if (absl::Status status = EncodeAsWritten(segment.text, place, special, work, ids); !status.ok()) {
      return status;
    }
  }
  return ids;
}

absl::Status PipelineTokenizer::EncodeAsWritten(std::string_view text, Place place, SpecialTokens special,
                                                MatchWork& work, std::vector<TokenId>& ids) const {
  absl::StatusOr<std::string> normalized;
  if (!normalizer_.empty()) {
    normalized = normalizer_.Normalize(text, place.continues ? Prepending::kOff : Prepending::kOn, work);
    if (!normalized.ok()) return normalized.status();
    text = *normalized;
  }
  if (in_normalized_.empty()) return EncodeNormalized(text, place, work, ids);
  std::vector<TextSegment> segments;
  in_normalized_.Split(text, special, segments);
  for (const TextSegment& segment : segments) {
    if (segment.token.has_value()) {
      ids.push_back(*segment.token);
      continue;
    }
    const bool first = segment.text.data() == text.data();
    const Place inner = {place.continues && first, place.starts_text && first};
    if (absl::Status status = EncodeNormalized(segment.text, inner, work, ids); !status.ok()) return status;
  }
  return absl::OkStatus();
}

struct PipelineTokenizer::Pieces {
  std::vector<std::string_view> texts;
  Place place;  // of the first piece
  MatchWork& work;
  std::deque<std::string> rewritten;  // what some of `texts` point into

  absl::Status Apply(const TextSplitter& splitter) {
    std::vector<std::string_view> finer;
    for (const std::string_view text : texts) {
      if (absl::Status status = splitter.Split(text, work, finer); !status.ok()) return status;
    }
    const bool same_start = !texts.empty() && !finer.empty() && finer[0].data() == texts[0].data();
    if (!same_start) place = {};
    texts = std::move(finer);
    return absl::OkStatus();
  }
  absl::Status Apply(const MetaspaceRule& rule) {
    for (size_t i = 0; i < texts.size(); ++i) {
      const bool wanted = rule.prepend == PrependScheme::kAlways ||
                          (rule.prepend == PrependScheme::kFirst && i == 0 && place.starts_text);
      const bool marked = texts[i].starts_with(rule.mark) || texts[i].starts_with(' ');
      const bool prepend = wanted && !marked && !Continues(i);
      if (!prepend && texts[i].find(' ') == std::string_view::npos) continue;
      std::string text = ReplaceEvery(texts[i], " ", rule.mark);
      if (prepend) text.insert(0, rule.mark);
      Rewrite(i, std::move(text));
    }
    return absl::OkStatus();
  }
  absl::Status Apply(const PrefixSpaceRule&) {
    for (size_t i = 0; i < texts.size(); ++i) {
      if (!Continues(i) && !texts[i].starts_with(' ')) Rewrite(i, Concat(" ", texts[i]));
    }
    return absl::OkStatus();
  }

 private:
  bool Continues(size_t i) const { return i == 0 && place.continues; }
  void Rewrite(size_t i, std::string text) { texts[i] = rewritten.emplace_back(std::move(text)); }
};

absl::Status PipelineTokenizer::EncodeNormalized(std::string_view text, Place place, MatchWork& work,
                                                 std::vector<TokenId>& ids) const {
  if (text.empty()) return absl::OkStatus();
  Pieces pieces{{text}, place, work, {}};
  for (const auto& step : pre_tokenizer_) {
    const absl::Status status = std::visit([&](const auto& rule) { return pieces.Apply(rule); }, step);
    if (!status.ok()) return status;
  }
  for (const std::string_view piece : pieces.texts) {
    if (absl::Status status = EncodeWords(piece, ids); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PipelineTokenizer::EncodeWords(std::string_view text, std::vector<TokenId>& ids) const {
  if (!model_->words_are_independent()) return model_->Encode(text, ids);
  // SentencePiece-style models see a whole text as one word. Cutting it where no piece reaches across gives
  // the same ids, and short words that repeat.
  while (!text.empty()) {
    const size_t bytes = FirstWordBytes(text);
    if (absl::Status status = model_->Encode(text.substr(0, bytes), ids); !status.ok()) return status;
    text.remove_prefix(bytes);
  }
  return absl::OkStatus();
}

}  // namespace memgate
