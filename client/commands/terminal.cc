#include "client/commands/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/commands/text.h"

namespace memgate {
namespace {

constexpr int kDefaultColumns = 80;
constexpr int kMaxBarColumns = 40;
constexpr int kMinBarColumns = 8;

std::string Styled(bool colour, Style style, absl::string_view text) {
  if (!colour || style == Style::kPlain || text.empty()) return std::string(text);
  const char* code = "";
  switch (style) {
    case Style::kPlain:
      break;
    case Style::kBold:
      code = "1";
      break;
    case Style::kDim:
      code = "2";
      break;
    case Style::kGood:
      code = "32";
      break;
    case Style::kBad:
      code = "31";
      break;
  }
  return absl::StrCat("\033[", code, "m", text, "\033[0m");
}

bool ColourIsWelcome() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return (no_color == nullptr || *no_color == '\0') && term != nullptr && absl::string_view(term) != "dumb";
}

int Columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefaultColumns;
  return size.ws_col;
}

}  // namespace

std::string Terminal::OnOut(Style style, absl::string_view text) const {
  return Styled(out_has_colour, style, text);
}

std::string Terminal::OnErr(Style style, absl::string_view text) const {
  return Styled(err_has_colour, style, text);
}

Terminal ProcessTerminal() {
  const bool colour = ColourIsWelcome();
  const bool out_is_terminal = isatty(STDOUT_FILENO) != 0;
  const bool err_is_terminal = isatty(STDERR_FILENO) != 0;
  return {.in = std::cin,
          .out = std::cout,
          .err = std::cerr,
          .in_is_terminal = isatty(STDIN_FILENO) != 0,
          .out_is_terminal = out_is_terminal,
          .out_has_colour = colour && out_is_terminal,
          .err_is_terminal = err_is_terminal,
          .err_has_colour = colour && err_is_terminal};
}

std::string ProgressLine(const Progress& progress, int width) {
  std::string facts = absl::StrFormat("%s tokens  %s tok/s", Grouped(progress.tokens),
                                      Grouped(static_cast<int64_t>(progress.tokens_per_s + 0.5)));
  if (progress.total <= 0) return absl::StrCat(facts, "  ", ClockTime(progress.elapsed));

  const double share =
      std::clamp(static_cast<double>(progress.done) / static_cast<double>(progress.total), 0.0, 1.0);
  const std::string percent = absl::StrFormat("%3d%%", static_cast<int>(share * 100));
  if (share > 0) {
    absl::StrAppend(&facts, "  ", ClockTime(progress.elapsed * ((1 - share) / share)), " left");
  }
  // Brackets, blanks and the last column, which some terminals wrap at.
  const int room = width - static_cast<int>(percent.size() + facts.size()) - 6;
  if (room < kMinBarColumns) return absl::StrCat(percent, "  ", facts);
  const int bar = std::min(room, kMaxBarColumns);
  const int filled = static_cast<int>(share * bar);
  return absl::StrCat("[", std::string(filled, '#'), std::string(bar - filled, '.'), "] ", percent, "  ",
                      facts);
}

ProgressBar::ProgressBar(const Terminal& terminal) : terminal_(terminal) {}

ProgressBar::~ProgressBar() {
  if (shown_) terminal_.err << "\r\033[K" << std::flush;
}

void ProgressBar::Show(const Progress& progress) {
  if (!terminal_.err_is_terminal) return;
  shown_ = true;
  terminal_.err << "\r\033[K" << ProgressLine(progress, Columns()) << std::flush;
}

}  // namespace memgate
