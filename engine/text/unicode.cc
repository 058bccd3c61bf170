#include "engine/text/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "engine/text/strings.h"

namespace memgate {
namespace {

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

const icu::Normalizer2* FindNormalizer(NormalizationForm form, UErrorCode& error) {
  switch (form) {
    case NormalizationForm::kNfc:
      return icu::Normalizer2::getNFCInstance(error);
    case NormalizationForm::kNfd:
      return icu::Normalizer2::getNFDInstance(error);
    case NormalizationForm::kNfkc:
      return icu::Normalizer2::getNFKCInstance(error);
    case NormalizationForm::kNfkd:
      return icu::Normalizer2::getNFKDInstance(error);
  }
  return nullptr;
}

bool IsAscii(std::string_view text) {
  for (const char byte : text) {
    if (static_cast<unsigned char>(byte) >= 0x80) return false;
  }
  return true;
}

// Sorting a run of combining marks takes time by the square of its length.
absl::Status CheckMarks(std::string_view text) {
  constexpr int kMostMarks = 256;             // texts have a handful
  constexpr unsigned char kFirstLead = 0xCC;  // no character before U+0300 has a combining class
  int marks = 0;
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < kFirstLead) {
      marks = 0;
      ++i;
      continue;
    }
    const Utf8Step step = ReadUtf8(text.substr(i));
    marks = u_getCombiningClass(static_cast<UChar32>(step.code_point)) > 0 ? marks + 1 : 0;
    if (marks > kMostMarks) {
      return absl::InvalidArgumentError(
          Concat("more than ", kMostMarks, " combining marks in a row at byte ", i));
    }
    i += step.bytes;
  }
  return absl::OkStatus();
}

}  // namespace

Utf8Step ReadUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Utf8State::kValid, 1, lead};
  // The range of the second byte excludes overlong forms, surrogates and code points past U+10FFFF
  // (Unicode 15, table 3-7).
  size_t size = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  char32_t code = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    size = 2;
    code = lead & 0x1F;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    size = 3;
    code = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    size = 4;
    code = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {Utf8State::kInvalid, 1, 0};
  }
  for (size_t i = 1; i < size; ++i) {
    if (i == text.size()) return {Utf8State::kIncomplete, i, 0};
    const bool in_range = i == 1 ? byte(1) >= low && byte(1) <= high : IsContinuation(byte(i));
    if (!in_range) return {Utf8State::kInvalid, i, 0};
    code = (code << 6) | (byte(i) & 0x3F);
  }
  return {Utf8State::kValid, size, code};
}

absl::Status CheckUtf8(std::string_view text, size_t base) {
  size_t i = 0;
  while (i < text.size()) {
    // Most text is ASCII: look at eight bytes at once.
    uint64_t block = 0;
    while (i + sizeof(block) <= text.size()) {
      std::memcpy(&block, text.data() + i, sizeof(block));
      if (block & 0x8080808080808080u) break;
      i += sizeof(block);
    }
    if (i == text.size()) break;
    const Utf8Step step = ReadUtf8(text.substr(i));
    if (step.state != Utf8State::kValid) {
      return absl::InvalidArgumentError(Concat("text is not valid UTF-8 at byte ", base + i));
    }
    i += step.bytes;
  }
  return absl::OkStatus();
}

size_t CompleteUtf8Bytes(std::string_view text) {
  // An incomplete character is at most three bytes long.
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const size_t start = text.size() - back;
    if (IsContinuation(static_cast<unsigned char>(text[start]))) continue;
    return ReadUtf8(text.substr(start)).state == Utf8State::kIncomplete ? start : text.size();
  }
  return text.size();
}

void AppendUtf8(char32_t code_point, std::string& out) {
  const auto push = [&](char32_t bits) { out.push_back(static_cast<char>(bits)); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xC0 | (code_point >> 6));
    push(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    push(0xE0 | (code_point >> 12));
    push(0x80 | ((code_point >> 6) & 0x3F));
    push(0x80 | (code_point & 0x3F));
  } else {
    push(0xF0 | (code_point >> 18));
    push(0x80 | ((code_point >> 12) & 0x3F));
    push(0x80 | ((code_point >> 6) & 0x3F));
    push(0x80 | (code_point & 0x3F));
  }
}

bool IsUnicodeSpace(char32_t code_point) { return u_isUWhiteSpace(static_cast<UChar32>(code_point)); }

bool IsUnicodeMark(char32_t code_point) {
  return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & U_GC_M_MASK) != 0;
}

void AppendLowercase(char32_t code_point, std::string& out) {
  constexpr char32_t kCapitalIWithDot = 0x130, kCombiningDot = 0x307;
  if (code_point == kCapitalIWithDot) {  // the only character whose lower case is two
    out.push_back('i');
    AppendUtf8(kCombiningDot, out);
  } else {
    AppendUtf8(static_cast<char32_t>(u_tolower(static_cast<UChar32>(code_point))), out);
  }
}

bool IsUnicodeWord(char32_t code_point) {
  const UChar32 c = static_cast<UChar32>(code_point);
  const uint32_t mask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || (U_GET_GC_MASK(c) & mask) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

size_t LeadingSpaceBytes(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Utf8Step step = ReadUtf8(text.substr(i));
    if (step.state != Utf8State::kValid || !IsUnicodeSpace(step.code_point)) break;
    i += step.bytes;
  }
  return i;
}

size_t TrailingSpaceBytes(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && IsContinuation(static_cast<unsigned char>(text[start]))) --start;
    const Utf8Step step = ReadUtf8(text.substr(start, end - start));
    if (step.state != Utf8State::kValid || !IsUnicodeSpace(step.code_point)) break;
    end = start;
  }
  return text.size() - end;
}

absl::StatusOr<std::string> NormalizeUnicode(std::string_view text, NormalizationForm form) {
  if (IsAscii(text)) return std::string(text);  // ASCII is unchanged by all four forms.
  if (auto s = CheckMarks(text); !s.ok()) return s;
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = FindNormalizer(form, error);
  if (U_FAILURE(error)) {
    return absl::InternalError(Concat("ICU normalisation data: ", u_errorName(error)));
  }
  std::string out;
  icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
  normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink,
                            nullptr, error);
  if (U_FAILURE(error)) return absl::InternalError(Concat("ICU normalisation: ", u_errorName(error)));
  return out;
}

}  // namespace memgate
