#include "client/utf8.h"

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace memgate {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Bytes of the character at the start of `text`, 0 if there is no valid one.
size_t CharacterBytes(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t bytes = first >= 0xC2 && first <= 0xDF   ? 2
                       : first >= 0xE0 && first <= 0xEF ? 3
                       : first >= 0xF0 && first <= 0xF4 ? 4
                                                        : 0;
  if (bytes == 0 || text.size() < bytes) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if (!IsContinuation(byte(i))) return 0;
  }
  // What is left are overlong forms, surrogates and what lies beyond U+10FFFF.
  const unsigned char second = byte(1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) {
    return 0;
  }
  return bytes;
}

absl::Status CheckField(const Message& message, const FieldDescriptor& field) {
  const Reflection& r = *message.GetReflection();
  const int size = field.is_repeated() ? r.FieldSize(message, &field) : 1;
  for (int i = 0; i < size; ++i) {
    absl::Status status;
    if (field.type() == FieldDescriptor::TYPE_STRING) {
      std::string scratch;
      status = CheckUtf8(field.name(), field.is_repeated()
                                           ? r.GetRepeatedStringReference(message, &field, i, &scratch)
                                           : r.GetStringReference(message, &field, &scratch));
    } else if (field.type() == FieldDescriptor::TYPE_MESSAGE) {
      status = CheckUtf8(field.is_repeated() ? r.GetRepeatedMessage(message, &field, i)
                                             : r.GetMessage(message, &field));
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckUtf8(absl::string_view what, absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = CharacterBytes(text.substr(at));
    if (bytes == 0) return absl::InvalidArgumentError(absl::StrCat(what, " is not UTF-8 (byte ", at, ")"));
    at += bytes;
  }
  return absl::OkStatus();
}

absl::Status CheckUtf8(const Message& message) {
  std::vector<const FieldDescriptor*> set_fields;
  message.GetReflection()->ListFields(message, &set_fields);
  for (const FieldDescriptor* field : set_fields) {
    if (absl::Status status = CheckField(message, *field); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace memgate
