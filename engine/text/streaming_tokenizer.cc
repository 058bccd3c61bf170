#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/added_tokens.h"
#include "engine/text/strings.h"
#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

constexpr size_t kMaxPendingBytes = 64 << 10;
// Checking a cut encodes up to four windows' worth of text, so that it should not happen for every short
// line.
constexpr size_t kMinPendingBytes = 2 << 10;
// A cut is looked for in runs of white space no longer than this, and judged by this much text on either
// side: an added token with the white space it may swallow fits into it.
constexpr size_t kMaxSpaceBytes = 64;
constexpr size_t kWindowBytes = kMaxAddedTokenBytes + kMaxSpaceBytes;
constexpr int kMaxCutsTried = 8;
// Judging cuts may take this many times the text that came. What one place in 64 KiB takes is kept for a line
// of that length.
constexpr size_t kJudgingRatio = 32;
constexpr size_t kMaxJudgingBytes = kJudgingRatio * kMaxPendingBytes;

// What judging one place in `bytes` of text may take, in bytes that are encoded.
size_t JudgingBytes(const Tokenizer& tokenizer, size_t bytes) {
  return 6 * kWindowBytes + (tokenizer.ReachesAcrossSpaces() ? 2 * bytes : 0);
}

bool IsCharacterStart(std::string_view text, size_t offset) {
  return offset >= text.size() || (static_cast<unsigned char>(text[offset]) & 0xC0) != 0x80;
}

size_t AlignDown(std::string_view text, size_t offset) {
  while (offset > 0 && !IsCharacterStart(text, offset)) --offset;
  return offset;
}

}  // namespace

StreamingTokenizer::StreamingTokenizer(const Tokenizer& tokenizer, TextPosition position,
                                       SpecialTokens special, size_t first_byte)
    : tokenizer_(tokenizer),
      special_(special),
      position_(position),
      consumed_bytes_(first_byte),
      kept_judging_bytes_(JudgingBytes(tokenizer, kMaxPendingBytes + kWindowBytes)),
      judging_bytes_(kept_judging_bytes_) {}

absl::Status StreamingTokenizer::Push(std::string_view chunk, std::vector<TokenId>& ids) {
  while (status_.ok() && !chunk.empty()) {
    // Slices keep what is pending bounded, whatever the size of the chunk.
    const size_t room = kMaxPendingBytes + kWindowBytes - std::min(pending_.size(), kMaxPendingBytes);
    const std::string_view slice = chunk.substr(0, room);
    chunk.remove_prefix(slice.size());
    status_ = Append(slice);
    judging_bytes_ = std::min(judging_bytes_ + kJudgingRatio * slice.size(), kMaxJudgingBytes);
    if (!status_.ok()) {
      EncodeValidText(ids);
    } else if (checked_bytes_ >= kMinPendingBytes) {
      const absl::StatusOr<size_t> cut = FindCut();
      status_ = cut.status();
      if (status_.ok() && *cut > 0) status_ = Encode(*cut, ids);
    }
  }
  return status_;
}

absl::Status StreamingTokenizer::Finish(std::vector<TokenId>& ids) {
  if (!status_.ok()) return status_;
  if (checked_bytes_ < pending_.size()) {
    status_ = absl::InvalidArgumentError(
        Concat("text is not valid UTF-8 at byte ", consumed_bytes_ + checked_bytes_));
    EncodeValidText(ids);
  } else {
    status_ = Encode(pending_.size(), ids);
  }
  return status_;
}

// What precedes the invalid bytes that status_ tells of. Of no text at all nothing is made, not even the
// token that begins one.
void StreamingTokenizer::EncodeValidText(std::vector<TokenId>& ids) {
  if (checked_bytes_ == 0) return;
  if (absl::Status status = Encode(checked_bytes_, ids); !status.ok()) status_ = std::move(status);
}

// On an error checked_bytes_ ends at the first invalid byte.
absl::Status StreamingTokenizer::Append(std::string_view slice) {
  pending_ += slice;
  const size_t complete = CompleteUtf8Bytes(pending_);
  if (complete <= checked_bytes_) return absl::OkStatus();
  const std::string_view fresh = std::string_view(pending_).substr(checked_bytes_, complete - checked_bytes_);
  absl::Status status = CheckUtf8(fresh, consumed_bytes_ + checked_bytes_);
  if (status.ok()) {
    checked_bytes_ = complete;
    return status;
  }
  for (Utf8Step step = ReadUtf8(fresh); step.state == Utf8State::kValid;
       step = ReadUtf8(std::string_view(pending_).substr(checked_bytes_))) {
    checked_bytes_ += step.bytes;
  }
  return status;
}

absl::Status StreamingTokenizer::Encode(size_t bytes, std::vector<TokenId>& ids) {
  const absl::StatusOr<std::vector<TokenId>> more =
      tokenizer_.Encode(std::string_view(pending_).substr(0, bytes), position_, special_);
  if (!more.ok()) return more.status();
  ids.insert(ids.end(), more->begin(), more->end());
  pending_.erase(0, bytes);
  checked_bytes_ -= bytes;
  searched_bytes_ -= std::min(searched_bytes_, bytes);
  consumed_bytes_ += bytes;
  position_ = TextPosition::kContinuation;
  return absl::OkStatus();
}

// 0 if there is none yet.
absl::StatusOr<size_t> StreamingTokenizer::FindCut() {
  const size_t limit = checked_bytes_ - kWindowBytes;
  const absl::StatusOr<size_t> at_line_break = FindCutAtLineBreak(limit);
  if (!at_line_break.ok() || *at_line_break > 0 || checked_bytes_ < kMaxPendingBytes) return at_line_break;
  const absl::StatusOr<size_t> at_space = FindCutAtSpace(limit);
  if (!at_space.ok() || *at_space > 0) return at_space;
  return AlignDown(pending_, limit);
}

absl::StatusOr<size_t> StreamingTokenizer::FindCutAtLineBreak(size_t limit) {
  const std::string_view text = std::string_view(pending_).substr(0, limit);
  size_t end = limit;
  for (int tried = 0; tried < kMaxCutsTried; ++tried) {
    const size_t searched = std::min(searched_bytes_, end);
    const size_t found = text.substr(searched, end - searched).find_last_of("\r\n");
    if (found == std::string_view::npos) break;
    if (judging_bytes_ < JudgingBytes(tokenizer_, checked_bytes_) + kept_judging_bytes_) return 0;
    const absl::StatusOr<size_t> cut = SafeCutInSpaces(searched + found);
    if (!cut.ok() || *cut > 0) return cut;
    end = searched + found;
  }
  searched_bytes_ = limit;
  return 0;
}

absl::StatusOr<size_t> StreamingTokenizer::FindCutAtSpace(size_t limit) {
  const std::string_view text = std::string_view(pending_).substr(0, limit);
  size_t end = limit;
  for (int tried = 0; tried < kMaxCutsTried; ++tried) {
    const size_t space = text.substr(0, end).rfind(' ');
    if (space == std::string_view::npos || judging_bytes_ < JudgingBytes(tokenizer_, checked_bytes_)) break;
    const absl::StatusOr<size_t> cut = SafeCutInSpaces(space);
    if (!cut.ok() || *cut > 0) return cut;
    end = space;
  }
  return 0;
}

// A cut inside or at either end of the white space around `offset`; 0 if there is none.
absl::StatusOr<size_t> StreamingTokenizer::SafeCutInSpaces(size_t offset) {
  const std::string_view text = std::string_view(pending_).substr(0, checked_bytes_);
  const size_t begin = offset - TrailingSpaceBytes(text.substr(offset - std::min(offset, kMaxSpaceBytes),
                                                               std::min(offset, kMaxSpaceBytes)));
  const size_t end = offset + LeadingSpaceBytes(text.substr(offset, kMaxSpaceBytes));
  if (end - begin >= kMaxSpaceBytes) return 0;
  // Which place it is depends on the tokenizer: some join all line breaks of a run, some join the last white
  // space to the word after it.
  for (size_t cut = end; cut + 1 > begin && cut > 0; --cut) {
    if (!IsCharacterStart(text, cut)) continue;
    const absl::StatusOr<bool> safe = IsSafeCut(cut);
    if (!safe.ok()) return safe.status();
    if (*safe) return cut;
  }
  return 0;
}

// Whether a cut at `offset` changes no ids, whatever follows what is there.
absl::StatusOr<bool> StreamingTokenizer::IsSafeCut(size_t offset) {
  const size_t window = AlignDown(pending_, offset - std::min(offset, kWindowBytes));
  absl::StatusOr<bool> safe = IsSafeCut(window, offset);
  if (safe.ok() && *safe) safe = HasBegun(window == 0 ? offset : window);
  if (safe.ok() && *safe && window > 0 && tokenizer_.ReachesAcrossSpaces()) safe = IsSafeCut(0, offset);
  return safe;
}

// Whether the ids of the text from `begin` on around `offset` are those of its two sides.
absl::StatusOr<bool> StreamingTokenizer::IsSafeCut(size_t begin, size_t offset) {
  const std::string_view text = std::string_view(pending_).substr(0, checked_bytes_);
  const size_t end = AlignDown(text, std::min(offset + kWindowBytes, text.size()));
  if (judging_bytes_ < 2 * (end - begin)) return false;
  const absl::StatusOr<std::vector<TokenId>> whole = EncodeToJudge(begin, end);
  if (!whole.ok()) return whole.status();
  const absl::StatusOr<std::vector<TokenId>> left = EncodeToJudge(begin, offset);
  if (!left.ok()) return left.status();
  const absl::StatusOr<std::vector<TokenId>> right = EncodeToJudge(offset, end);
  if (!right.ok()) return right.status();
  // A normaliser may drop a side as white space at an end of its text, where the whole text goes on.
  return !left->empty() && !right->empty() && whole->size() == left->size() + right->size() &&
         std::equal(left->begin(), left->end(), whole->begin()) &&
         std::equal(right->begin(), right->end(), whole->begin() + left->size());
}

// Whether something is left of the first `bytes`. What the whole text begins with belongs to the first
// character that is, so that nothing before it can be cut off.
absl::StatusOr<bool> StreamingTokenizer::HasBegun(size_t bytes) {
  if (position_ == TextPosition::kContinuation) return true;
  bytes = AlignDown(pending_, std::min(bytes, kWindowBytes));
  const absl::StatusOr<std::vector<TokenId>> nothing = EncodeToJudge(0, 0);
  if (!nothing.ok()) return nothing.status();
  const absl::StatusOr<std::vector<TokenId>> first = EncodeToJudge(0, bytes);
  if (!first.ok()) return first.status();
  return first->size() > nothing->size();
}

absl::StatusOr<std::vector<TokenId>> StreamingTokenizer::EncodeToJudge(size_t begin, size_t end) {
  judging_bytes_ -= std::min(judging_bytes_, end - begin);
  const TextPosition position = begin == 0 ? position_ : TextPosition::kContinuation;
  return tokenizer_.Encode(std::string_view(pending_).substr(begin, end - begin), position, special_);
}

}  // namespace memgate
