#include "client/commands/input_file.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace memgate {

absl::StatusOr<std::string> ReadInputFile(const Invocation& invocation, const char* option) {
  const std::string path = invocation.arguments.Text(option);
  std::ostringstream text;
  if (path == "-") {
    text << invocation.terminal.in.rdbuf();
    return text.str();
  }
  std::ifstream file(path, std::ios::binary);
  // A folder can be opened, but not read, which makes `file` bad. An empty file is no error, though `<<`
  // fails on it.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(absl::StrCat("cannot read --", option, " ", path));
  }
  return text.str();
}

absl::Status CheckStandardInput(const Arguments& arguments, std::initializer_list<const char*> options) {
  std::string first;
  for (const char* option : options) {
    if (!arguments.Has(option) || arguments.Text(option) != "-") continue;
    if (!first.empty()) {
      return UsageError(absl::StrCat("--", first, " and --", option, " cannot both read standard input (-)"));
    }
    first = option;
  }
  return absl::OkStatus();
}

}  // namespace memgate
