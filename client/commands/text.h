// Numbers and API values as people read them.
#ifndef MEMGATE_CLIENT_COMMANDS_TEXT_H_
#define MEMGATE_CLIENT_COMMANDS_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "memgate/v1/types.pb.h"

namespace memgate {

// "20,431".
std::string Grouped(int64_t number);
// "1.25 MB"; powers of 1000, three significant digits, plain "812 B" below 1000.
std::string HumanBytes(int64_t bytes);
// "0:07", "12:40", "1:02:03".
std::string ClockTime(absl::Duration duration);
// "20,431 tokens: 272 exact, 128 salient, 20,031 compressed, 0 forgotten".
std::string DescribeTokens(const v1::TokenAccounting& accounting);
// "a" padded with blanks to `width` columns. Counts UTF-8 characters, not bytes.
std::string Padded(const std::string& text, size_t width);
// Rows as aligned columns, the first row being the heading; columns of numbers are right-aligned.
std::string Table(const std::vector<std::vector<std::string>>& rows);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_TEXT_H_
