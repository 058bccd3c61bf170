#include "client/commands/text.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace memgate {
namespace {

size_t Columns(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; });
}

bool StartsWithDigit(const std::string& text) { return !text.empty() && absl::ascii_isdigit(text[0]); }

}  // namespace

std::string Grouped(int64_t number) {
  std::string digits = absl::StrCat(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) digits.insert(i -= 3, ",");
  return digits;
}

std::string HumanBytes(int64_t bytes) {
  if (bytes < 1000) return absl::StrCat(bytes, " B");
  static constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  // 999.5 would print as "1000", so the next unit begins there.
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f %s", decimals, value, kUnits[unit]);
}

std::string ClockTime(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(std::max(duration, absl::ZeroDuration()));
  if (seconds < 3600) return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string DescribeTokens(const v1::TokenAccounting& accounting) {
  return absl::StrCat(Grouped(accounting.total_tokens()), " tokens: ", Grouped(accounting.exact_tokens()),
                      " exact, ", Grouped(accounting.salient_tokens()), " salient, ",
                      Grouped(accounting.compressed_tokens()), " compressed, ",
                      Grouped(accounting.forgotten_tokens()), " forgotten");
}

std::string Padded(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, Columns(text)), ' ');
}

std::string Table(const std::vector<std::vector<std::string>>& rows) {
  if (rows.empty()) return "";
  std::string table;
  std::vector<size_t> widths(rows[0].size(), 0);
  std::vector<bool> numeric(rows[0].size(), rows.size() > 1);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < rows[r].size(); ++c) {
      widths[c] = std::max(widths[c], Columns(rows[r][c]));
      if (r > 0 && !StartsWithDigit(rows[r][c])) numeric[c] = false;
    }
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      if (c > 0) line += "  ";
      const std::string blanks(widths[c] - Columns(row[c]), ' ');
      absl::StrAppend(&line, numeric[c] ? blanks : "", row[c], numeric[c] ? "" : blanks);
    }
    absl::StripTrailingAsciiWhitespace(&line);
    absl::StrAppend(&table, line, "\n");
  }
  return table;
}

}  // namespace memgate
