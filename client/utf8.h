// Finds text that the API's string fields cannot carry.
#ifndef MEMGATE_CLIENT_UTF8_H_
#define MEMGATE_CLIENT_UTF8_H_

#include <google/protobuf/message.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace memgate {

// INVALID_ARGUMENT "`what` is not UTF-8 (byte N)", N being the offset of the first byte that belongs to no
// valid character. Surrogates and overlong forms are not valid.
absl::Status CheckUtf8(absl::string_view what, absl::string_view text);

// The same for every string in `message`, which is named by its field.
absl::Status CheckUtf8(const google::protobuf::Message& message);

}  // namespace memgate

#endif  // MEMGATE_CLIENT_UTF8_H_
