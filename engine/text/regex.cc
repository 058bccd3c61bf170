#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/text/strings.h"
#include "engine/text/unicode.h"

namespace memgate {
namespace {

// Backtracking steps per place where a match may begin, and KiB of heap. Published patterns need a few steps
// per character of a match. A hostile one fails within milliseconds if it backtracks without end, but may take
// as long at every place.
constexpr uint32_t kMatchLimit = 1'000'000;
constexpr uint32_t kDepthLimit = 10'000;
constexpr uint32_t kHeapLimitKib = 16 * 1024;
// Patterns are compiled on the machine stack.
constexpr uint32_t kMaxPatternNesting = 100;
constexpr size_t kMaxPatternBytes = 64 * 1024;
// ^ and $ match at every line break, as in Oniguruma.
constexpr uint32_t kCompileOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;

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

absl::StatusOr<PcrePtr<pcre2_code>> CompilePcre(const std::string& pattern) {
  PcrePtr<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  pcre2_set_parens_nest_limit(context.get(), kMaxPatternNesting);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  PcrePtr<pcre2_code> code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                         kCompileOptions, &error, &offset, context.get()));
  if (!code) {
    return absl::InvalidArgumentError(
        Concat("regular expression: ", PcreMessage(error), " at byte ", offset));
  }
  return code;
}

}  // namespace

struct Regex::Compiled {
  PcrePtr<pcre2_code> code;
  PcrePtr<pcre2_match_context> context;
  bool jit = false;

  int Match(std::string_view text, size_t start, pcre2_match_data* match) const {
    const PCRE2_SPTR subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (jit) {
      rc = pcre2_jit_match(code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK, match, context.get());
    }
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
    // The interpreter takes its stack from the bounded heap.
    return pcre2_match(code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match,
                       context.get());
  }
};

Regex::Regex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(
        Concat("regular expression of ", pattern.size(), " bytes is longer than ", kMaxPatternBytes));
  }
  const absl::StatusOr<std::string> translated = ToPcre2Syntax(pattern);
  if (!translated.ok()) {
    return absl::Status(translated.status().code(),
                        Concat("regular expression: ", translated.status().message(), " is not supported"));
  }
  absl::StatusOr<PcrePtr<pcre2_code>> code = CompilePcre(*translated);
  if (!code.ok()) return code.status();
  auto compiled = std::make_unique<Compiled>();
  compiled->jit = pcre2_jit_compile(code->get(), PCRE2_JIT_COMPLETE) == 0;
  compiled->code = *std::move(code);
  compiled->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(compiled->context.get(), kMatchLimit);
  pcre2_set_depth_limit(compiled->context.get(), kDepthLimit);
  pcre2_set_heap_limit(compiled->context.get(), kHeapLimitKib);
  return Regex(std::move(compiled));
}

absl::Status Regex::ForEachMatch(std::string_view text, absl::FunctionRef<void(size_t, size_t)> visit) const {
  PcrePtr<pcre2_match_data> match(pcre2_match_data_create(1, nullptr));
  size_t done = 0;   // text before this was visited
  size_t start = 0;  // where the next match is looked for
  while (start < text.size()) {
    const int rc = compiled_->Match(text, start, match.get());
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
      visit(begin, end);
      done = end;
    }
    start = std::max(end, start);
    if (end == begin) {  // An empty match: step over one character.
      start += start < text.size() ? ReadUtf8(text.substr(start)).bytes : 1;
    }
  }
  return absl::OkStatus();
}

}  // namespace memgate
