#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/regex.h"

#include <pcre2.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/text/strings.h"

namespace memgate {
namespace {

// Backtracking steps per place where a match may begin, and KiB of heap. Published patterns need a few steps
// per character of a match. A hostile one fails within milliseconds if it backtracks without end; if it does
// nearly as much at every place, MatchWork ends it.
constexpr uint32_t kMatchLimit = 1'000'000;
constexpr uint32_t kDepthLimit = 10'000;
constexpr uint32_t kHeapLimitKib = 16 * 1024;
// Patterns are compiled on the machine stack.
constexpr uint32_t kMaxPatternNesting = 100;
constexpr size_t kMaxPatternBytes = 64 * 1024;
// ^ and $ match at every line break, as in Oniguruma.
constexpr uint32_t kCompileOptions =
    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;

// PCRE2 is asked for a match that begins within so many bytes at most, and at least, as nothing interrupts
// it; and the time is read after so many places, which takes as long as a match does.
constexpr size_t kMostPlaces = 64;
constexpr size_t kLeastPlaces = 16;
constexpr size_t kPlacesPerReading = 64;
// Much more than any text needs: on a virtual machine the clock of a thread goes on while the host runs
// others.
constexpr std::chrono::nanoseconds kTimePerText = std::chrono::milliseconds(500);
constexpr std::chrono::nanoseconds kTimePerByte = std::chrono::microseconds(10);

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

std::chrono::nanoseconds ThreadTime() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

// Where the character after the one at `offset` begins.
size_t NextCharacter(std::string_view text, size_t offset) {
  do {
    ++offset;
  } while (offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xC0) == 0x80);
  return offset;
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

struct MatchWork::Pcre {
  PcrePtr<pcre2_match_data> match{pcre2_match_data_create(1, nullptr)};
  PcrePtr<pcre2_match_context> context{pcre2_match_context_create(nullptr)};
};

MatchWork::MatchWork(size_t text_bytes) : MatchWork(kTimePerText + kTimePerByte * text_bytes) {}
MatchWork::MatchWork(std::chrono::nanoseconds allowed)
    : pcre_(std::make_unique<Pcre>()),
      allowed_(allowed),
      begin_(std::chrono::steady_clock::now()),
      cpu_begin_(ThreadTime()) {
  pcre2_set_match_limit(pcre_->context.get(), kMatchLimit);
  pcre2_set_depth_limit(pcre_->context.get(), kDepthLimit);
  pcre2_set_heap_limit(pcre_->context.get(), kHeapLimitKib);
}
MatchWork::~MatchWork() = default;

bool MatchWork::Exceeded(size_t places) {
  places_ += places;
  if (places_ < kPlacesPerReading) return false;
  places_ = 0;
  // The clock of the thread is slow to read, and never ahead of the other one.
  return std::chrono::steady_clock::now() - begin_ > allowed_ && ThreadTime() - cpu_begin_ > allowed_;
}

struct Regex::Compiled {
  PcrePtr<pcre2_code> code;
  bool jit = false;

  // The first match that begins from `start` on and within the limit that is set.
  int Match(std::string_view text, size_t start, const MatchWork::Pcre& pcre) const {
    const PCRE2_SPTR subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (jit) {
      rc = pcre2_jit_match(code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK, pcre.match.get(),
                           pcre.context.get());
    }
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
    // The interpreter takes its stack from the bounded heap.
    return pcre2_match(code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       pcre.match.get(), pcre.context.get());
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
                        Concat("regular expression: ", translated.status().message()));
  }
  absl::StatusOr<PcrePtr<pcre2_code>> code = CompilePcre(*translated);
  if (!code.ok()) return code.status();
  auto compiled = std::make_unique<Compiled>();
  compiled->jit = pcre2_jit_compile(code->get(), PCRE2_JIT_COMPLETE) == 0;
  compiled->code = *std::move(code);
  return Regex(std::move(compiled));
}

absl::Status Regex::ForEachMatch(std::string_view text, MatchWork& work,
                                 absl::FunctionRef<void(size_t, size_t)> visit) const {
  size_t done = 0;   // text before this was visited
  size_t start = 0;  // where the next match is looked for
  size_t last = 0;   // where it may begin at the latest
  while (start < text.size()) {
    if (last < start + kLeastPlaces) {
      last = start + kMostPlaces - 1;
      pcre2_set_offset_limit(work.pcre_->context.get(), last);
    }
    const int rc = compiled_->Match(text, start, *work.pcre_);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
      return absl::ResourceExhaustedError(Concat("the tokenizer's regular expression gave up at byte ", start,
                                                 " of a segment: ", PcreMessage(rc)));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(work.pcre_->match.get());
    const size_t places = (rc < 0 ? last : std::max<size_t>(bounds[0], start)) - start + 1;
    if (work.Exceeded(places)) {
      return absl::ResourceExhaustedError(
          Concat("the tokenizer's regular expressions take too long for this text, at byte ", start,
                 " of a segment"));
    }
    if (rc == PCRE2_ERROR_NOMATCH) {
      start = NextCharacter(text, last);
      continue;
    }
    // A look-behind with \K can report a match that starts before `start` or ends before it begins.
    const size_t begin = std::max<size_t>(bounds[0], done);
    const size_t end = std::max<size_t>(bounds[1], begin);
    if (end > begin) {
      visit(begin, end);
      done = end;
    }
    start = std::max(end, start);
    if (end == begin) start = NextCharacter(text, start);  // an empty match
  }
  return absl::OkStatus();
}

}  // namespace memgate
