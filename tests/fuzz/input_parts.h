// What fuzz targets share: cutting an input into parts, and requiring what must hold.
#ifndef MEMGATE_TESTS_FUZZ_INPUT_PARTS_H_
#define MEMGATE_TESTS_FUZZ_INPUT_PARTS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace memgate {

// Ends the program, which makes the input a finding.
inline void Require(bool condition) {
  if (!condition) std::abort();
}

inline std::string_view AsText(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// What stands before the first `separator`, or all of `rest`; `rest` becomes what stands after it.
inline std::string_view TakePart(std::string_view& rest, std::string_view separator) {
  const size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + separator.size());
  return part;
}
inline std::string_view TakePart(std::string_view& rest, char separator) {
  return TakePart(rest, std::string_view(&separator, 1));
}

// The next byte; 0 where there is none.
inline uint8_t TakeByte(std::string_view& rest) {
  if (rest.empty()) return 0;
  const auto byte = static_cast<uint8_t>(rest.front());
  rest.remove_prefix(1);
  return byte;
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_INPUT_PARTS_H_
