#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/text_splitter.h"

#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// Backtracking steps per match, and KiB of heap. Published patterns need a few steps per character of a
// match; a hostile one fails within milliseconds.
constexpr uint32_t kMatchLimit = 1'000'000;
constexpr uint32_t kDepthLimit = 10'000;
constexpr uint32_t kHeapLimitKib = 16 * 1024;
// Patterns are compiled on the machine stack.
constexpr uint32_t kMaxPatternNesting = 100;
constexpr size_t kMaxPatternBytes = 64 * 1024;

struct FreePcre {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};
template <typename T>
using PcrePtr = std::unique_ptr<T, FreePcre>;

std::string PcreMessage(int code) {
  PCRE2_UCHAR buffer[128];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

struct Span {
  size_t begin = 0;
  size_t end = 0;
  bool is_match = false;
};

void EmitPieces(std::string_view text, const std::vector<Span>& spans, SplitBehavior behavior,
                std::vector<std::string_view>& pieces) {
  bool previous_was_match = true;  // Nothing precedes the first span, so nothing can be extended.
  bool open = false;               // MergedWithNext: the last piece is a match that waits for its text.
  for (const Span& span : spans) {
    const std::string_view piece = text.substr(span.begin, span.end - span.begin);
    switch (behavior) {
      case SplitBehavior::kRemoved:
        if (!span.is_match) pieces.push_back(piece);
        break;
      case SplitBehavior::kIsolated:  // needs no spans, see Split
        break;
      case SplitBehavior::kMergedWithPrevious:
        if (span.is_match && !previous_was_match) {
          pieces.back() = {pieces.back().data(), pieces.back().size() + piece.size()};
        } else {
          pieces.push_back(piece);
        }
        break;
      case SplitBehavior::kMergedWithNext:
        if (!span.is_match && open) {
          pieces.back() = {pieces.back().data(), pieces.back().size() + piece.size()};
        } else {
          pieces.push_back(piece);
        }
        open = span.is_match;
        break;
    }
    previous_was_match = span.is_match;
  }
}

}  // namespace

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct TextSplitter::Pattern {
  PcrePtr<pcre2_code> code;
  PcrePtr<pcre2_match_context> context;
  bool jit = false;
};

TextSplitter::TextSplitter(std::unique_ptr<Pattern> pattern, SplitBehavior behavior, bool invert)
    : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
TextSplitter::TextSplitter(TextSplitter&&) noexcept = default;
TextSplitter& TextSplitter::operator=(TextSplitter&&) noexcept = default;
TextSplitter::~TextSplitter() = default;

absl::StatusOr<TextSplitter> TextSplitter::Compile(const std::string& pattern, SplitBehavior behavior,
                                                   bool invert) {
  if (pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(
        Concat("regular expression of ", pattern.size(), " bytes is longer than ", kMaxPatternBytes));
  }
  PcrePtr<pcre2_compile_context> compile_context(pcre2_compile_context_create(nullptr));
  pcre2_set_parens_nest_limit(compile_context.get(), kMaxPatternNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  PcrePtr<pcre2_code> code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                         PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                         compile_context.get()));
  if (!code) {
    return absl::InvalidArgumentError(
        Concat("regular expression: ", PcreMessage(error), " at byte ", offset));
  }
  auto compiled = std::make_unique<Pattern>();
  compiled->jit = pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE) == 0;
  compiled->code = std::move(code);
  compiled->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(compiled->context.get(), kMatchLimit);
  pcre2_set_depth_limit(compiled->context.get(), kDepthLimit);
  pcre2_set_heap_limit(compiled->context.get(), kHeapLimitKib);
  return TextSplitter(std::move(compiled), behavior, invert);
}

absl::StatusOr<TextSplitter> TextSplitter::ForLiteral(std::string_view literal, SplitBehavior behavior,
                                                      bool invert) {
  std::string pattern;
  for (const char c : literal) {
    // PCRE2 takes a backslash before any ASCII punctuation as "this character itself".
    if (static_cast<unsigned char>(c) < 0x80 && !absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        c != '\0') {
      pattern.push_back('\\');
    }
    pattern.push_back(c);
  }
  return Compile(pattern, behavior, invert);
}

absl::Status TextSplitter::Split(std::string_view text, std::vector<std::string_view>& pieces) const {
  PcrePtr<pcre2_match_data> match(pcre2_match_data_create(1, nullptr));
  const PCRE2_SPTR subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::vector<Span> spans;
  const auto add = [&](size_t begin, size_t end, bool is_match) {
    if (begin == end) return;
    if (behavior_ == SplitBehavior::kIsolated) {  // By far the most common, and no span depends on another.
      pieces.push_back(text.substr(begin, end - begin));
    } else {
      spans.push_back({begin, end, is_match != invert_});
    }
  };
  size_t done = 0;   // text before this is in `spans`
  size_t start = 0;  // where the next match is looked for
  while (start < text.size()) {
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (pattern_->jit) {
      rc = pcre2_jit_match(pattern_->code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK, match.get(),
                           pattern_->context.get());
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // The interpreter takes its stack from the bounded heap.
      rc = pcre2_match(pattern_->code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       match.get(), pattern_->context.get());
    }
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return absl::ResourceExhaustedError(Concat("the tokenizer's regular expression gave up at byte ", start,
                                                 " of a segment: ", PcreMessage(rc)));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    // A look-behind with \K can report a match that starts before `start` or ends before it begins.
    const size_t begin = std::max<size_t>(bounds[0], done);
    const size_t end = std::max<size_t>(bounds[1], begin);
    if (end > begin) {
      add(done, begin, false);
      add(begin, end, true);
      done = end;
    }
    start = std::max(end, start);
    if (end == begin) {  // An empty match: step over one character.
      start += start < text.size() ? ReadUtf8(text.substr(start)).bytes : 1;
    }
  }
  add(done, text.size(), false);
  EmitPieces(text, spans, behavior_, pieces);
  return absl::OkStatus();
}

}  // namespace memgate
