// Strings between the standard library and Abseil. Abseil may be built with a string_view of its own (Debian
// 12 does), which does not convert from std::string_view.
#ifndef MEMGATE_ENGINE_BASE_STRINGS_H_
#define MEMGATE_ENGINE_BASE_STRINGS_H_

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace memgate {

inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStdView(absl::string_view text) { return {text.data(), text.size()}; }

// absl::StrCat that takes std::string_view too.
template <typename... Args>
std::string Concat(const Args&... args) {
  const auto pass = [](const auto& arg) -> decltype(auto) {
    if constexpr (std::is_same_v<std::decay_t<decltype(arg)>, std::string_view>) {
      return ToAbsl(arg);
    } else {
      return (arg);
    }
  };
  return absl::StrCat(pass(args)...);
}

}  // namespace memgate

#endif  // MEMGATE_ENGINE_BASE_STRINGS_H_
