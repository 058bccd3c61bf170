// Where a command prints, and what that place can show.
#ifndef MEMGATE_CLIENT_COMMANDS_TERMINAL_H_
#define MEMGATE_CLIENT_COMMANDS_TERMINAL_H_

#include <cstdint>
#include <istream>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace memgate {

enum class Style { kPlain, kBold, kDim, kGood, kBad };

// A command's streams. Answers and results go to `out`, everything about them to `err`.
struct Terminal {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  // Whether a person looks at the stream and colours are welcome: a terminal, NO_COLOR unset, TERM not
  // "dumb".
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool out_has_colour = false;
  bool err_is_terminal = false;
  bool err_has_colour = false;

  std::string OnOut(Style style, absl::string_view text) const;
  std::string OnErr(Style style, absl::string_view text) const;
};

// The process's own streams.
Terminal ProcessTerminal();

// What a progress bar shows.
struct Progress {
  int64_t done = 0;
  int64_t total = 0;  // 0 = unknown, then there is no bar and no estimate
  int64_t tokens = 0;
  double tokens_per_s = 0;
  absl::Duration elapsed;
};

// One line of at most `width` columns: bar, percent, tokens, rate, time left (or passed, if the total is
// unknown).
std::string ProgressLine(const Progress& progress, int width);

// Redraws ProgressLine in place on a terminal, and prints nothing anywhere else.
class ProgressBar {
 public:
  explicit ProgressBar(const Terminal& terminal);
  // Erases the line, so that an error message starts on a clean one.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Show(const Progress& progress);

 private:
  const Terminal& terminal_;
  bool shown_ = false;
};

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_TERMINAL_H_
