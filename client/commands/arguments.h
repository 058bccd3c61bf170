// Command line options: declared as data, parsed in one place.
#ifndef MEMGATE_CLIENT_COMMANDS_ARGUMENTS_H_
#define MEMGATE_CLIENT_COMMANDS_ARGUMENTS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace memgate {

struct OptionSpec {
  std::string name;   // without the dashes
  std::string value;  // placeholder in the help text; empty for a switch
  std::string help;
};

// What was on the command line.
class Arguments {
 public:
  bool Has(absl::string_view name) const { return !All(name).empty(); }
  // Every value given for a repeatable option, in order.
  const std::vector<std::string>& All(absl::string_view name) const;
  // The last value given; empty if the option is absent.
  std::string Text(absl::string_view name) const;
  const std::vector<std::string>& positional() const { return positional_; }

 private:
  friend absl::StatusOr<Arguments> ParseArguments(const std::vector<OptionSpec>& specs,
                                                  const std::vector<std::string>& words);

  std::map<std::string, std::vector<std::string>, std::less<>> options_;
  std::vector<std::string> positional_;
};

// Reads typed values of the options that are present and hands them to setters. The first wrong value ends up
// in status(), a usage error that names the option and what it takes; later reads are skipped then.
//
//   OptionReader read(arguments);
//   read.Int32("max-tokens", [&](int32_t v) { request.set_max_tokens(v); });
//   if (!read.status().ok()) return read.status();
class OptionReader {
 public:
  explicit OptionReader(const Arguments& arguments) : arguments_(arguments) {}

  void Int32(absl::string_view name, absl::FunctionRef<void(int32_t)> set);
  void Uint64(absl::string_view name, absl::FunctionRef<void(uint64_t)> set);
  void Number(absl::string_view name, absl::FunctionRef<void(float)> set);
  // "90s", "15m", "1h30m".
  void Time(absl::string_view name, absl::FunctionRef<void(absl::Duration)> set);
  // "4096", "512KiB", "12MB".
  void Bytes(absl::string_view name, absl::FunctionRef<void(int64_t)> set);

  const absl::Status& status() const { return status_; }

 private:
  // The option's last value, or null if it is absent or an earlier one was wrong.
  const std::string* Value(absl::string_view name) const;
  void Wrong(absl::string_view name, absl::string_view value, absl::string_view expected);

  const Arguments& arguments_;
  absl::Status status_;
};

// INVALID_ARGUMENT, marked as the user's slip on this side of the wire (exit code 2).
absl::Status UsageError(absl::string_view message);
bool IsUsageError(const absl::Status& status);

// Reads "--name value", "--name=value", switches, and positional words; "--" ends the options. A usage error
// for an unknown option (with the closest known one), a missing value, or a value given to a switch.
absl::StatusOr<Arguments> ParseArguments(const std::vector<OptionSpec>& specs,
                                         const std::vector<std::string>& words);

// The candidate that `word` was most likely meant to be; empty if none is close.
std::string ClosestWord(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_COMMANDS_ARGUMENTS_H_
