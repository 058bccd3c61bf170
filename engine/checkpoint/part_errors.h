// Errors about a part of a model file. They name it as JSON spells a string, so that no file can garble a
// message.
#ifndef MEMGATE_ENGINE_CHECKPOINT_PART_ERRORS_H_
#define MEMGATE_ENGINE_CHECKPOINT_PART_ERRORS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/json_util.h"

namespace memgate {

// 'key "...": reason', of the metadata of a GGUF file.
inline absl::Status KeyError(std::string_view key, std::string_view reason,
                             absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  return absl::Status(code, Concat("key ", DescribeJson(std::string(key)), ": ", reason));
}

// 'tensor "...": reason'.
inline absl::Status TensorError(std::string_view name, std::string_view reason,
                                absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  return absl::Status(code, Concat("tensor ", DescribeJson(std::string(name)), ": ", reason));
}

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_PART_ERRORS_H_
